"""What those who behave feel of those who do not: beside a dead workload, slow clients, floods of
HTTP/2 and readers that never read, in turns with the same without them. The ones that measure ask at
a fixed rate, and an answer's time counts from the moment at which its request was due.

Everybody else runs at the lowest priority: they stand for other machines, and what their own work
takes from those who measure is not what dormouse does with it."""

import json
import os
import resource
import subprocess
import threading
import time
from pathlib import Path

from house import cpu_us_between, get, workload_at
from row import Row, ratio, seen, value

ROOT = Path(__file__).resolve().parents[3]
HOT = ("hot.example", 500, 4)
GOOD = ("web.example", 1000, 4)
CROWD_RATE = 2_000
FLOODS = ("RapidReset", "Continuation", "Settings", "Ping", "EmptyData")
VISITORS = 1_000
# The admin side takes 256.
ADMINS = 255
SETTLE_S = 3
# Files of dormouse for each slow client: two of three have a connection to the workload, too.
FILES_PER_CLIENT = 5 / 3
OTHER_FILES = 512


def dead_neighbour(house, options):
    """As many requests to a workload that never gets ready, to one that lives, and to nobody."""
    text = app(house, "hot") + app(house, "alive") + app(house, "dead", "NEVER_LISTEN=1", DEAD)
    server = house.dormouse("dead-neighbour", text)
    for host in ("hot.example", "alive.example"):
        answered(server, host)
    seconds = max(options.dead_requests // CROWD_RATE, 1)
    beside = {"dormouse": "dead.example", "a living one": "alive.example", "nobody": None}
    turns = {who: [] for who in beside}
    crowds = {who: {} for who in beside}
    used_us = dict.fromkeys(beside, 0)
    before, peak = server.rss_kib(), Peak(server)
    for who in in_turns(beside, options.rounds):
        host = beside[who]
        cpu = server.cpu()
        crowd = host and Visitors(house, "crowd", server.port, host, CROWD_RATE, seconds)
        turns[who].append(steady(house, server, HOT, seconds))
        if crowd:
            for status, count in crowd.told()["statuses"].items():
                crowds[who][status] = crowds[who].get(status, 0) + count
            time.sleep(SETTLE_S)
        used_us[who] += cpu_us_between(cpu, server.cpu())
    highest = peak.end()
    after = server.rss_kib()
    house.end_all()
    strange = sum(n for status, n in crowds["dormouse"].items() if status not in ("502", "503", "504"))
    strange += sum(n for status, n in crowds["a living one"].items() if status != "200")
    figures = percentiles(turns)
    figures["dormouse"]["failed"] += strange
    each = f"{seconds * CROWD_RATE:,}".replace(",", " ")
    what = f"a neighbour's p99 beside {each} requests to a dead workload"
    statuses = sorted(crowds["dormouse"].items())
    told = ", ".join(f"{count} were answered {status}" for status, count in statuses)
    asked = seconds * CROWD_RATE * options.rounds
    dead_us, living_us = ((used_us[who] - used_us["nobody"]) / asked for who in list(beside)[:2])
    note = (
        f"CPU for a request to the dead one {dead_us:.0f} µs, to the living one {living_us:.0f} µs; "
        f"of the former {told}; memory {mib(before)} before, {mib(highest)} at most, "
        f"{mib(after)} after"
    )
    stays = {"dormouse": seen([max(after - before, 0) / 1024])}
    return [
        ratio("dead-neighbour", what, "µs", figures, 1.10, peer="a living one", note=note),
        value("dead-neighbour", "memory that stays after them", "MiB", stays, 16),
    ]


def slow_clients(house, options):
    """Heads, bodies and readers a byte at a time; then each flood."""
    server = house.dormouse("slow-clients", app(house, "web"))
    answered(server, "web.example")
    count = min(options.slow_clients, int((files_max() - OTHER_FILES) / FILES_PER_CLIENT))
    slow = {"dormouse": ("slow", "web.example", count), "without": None}
    rows = [good_beside(house, server, options, f"{count:,} slow clients".replace(",", " "), slow)]
    for kind in FLOODS[: options.floods]:
        flood = {"dormouse": ("flood", kind), "without": None}
        rows.append(good_beside(house, server, options, f"floods of HTTP/2, {kind}", flood))
    house.end_all()
    return rows


def good_beside(house, server, options, what, beside):
    turns, files = {who: [] for who in beside}, 0
    for who in in_turns(beside, options.rounds):
        bad = beside[who] and Visitors(house, beside[who][0], server.port, *beside[who][1:])
        if bad:
            bad.until_ready()
            files = max(files, open_files(server))
        turns[who].append(steady(house, server, GOOD, options.good_seconds))
        if bad:
            bad.end()
            time.sleep(SETTLE_S)
    note = f"dormouse had {files} files open meanwhile" if "slow" in what else ""
    what = f"the p99 of good clients beside {what}"
    return ratio("slow-clients", what, "µs", percentiles(turns), 2.0, peer="without", note=note)


def never_read(house, options):
    """Telling itself by the keeper's own bench; from outside, what is told with each pin."""
    return [publishing(options), pinning(house, options)]


def publishing(options):
    command = ["cargo", "bench", "--quiet", "--package", "dormouse-keeper", "--bench", "publish"]
    command += ["--", "--rounds", str(options.rounds)]
    text = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    ).stdout
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    names = {"never read": "dormouse", "read": "1 000 that read", "nobody": "nobody"}
    figures = {
        names[line["readers"]]: {
            "median": line["p99_us"] / 1e3, "low": line["low"] / 1e3, "high": line["high"] / 1e3,
            "rounds": options.rounds, "failed": 0, "asked": 0,
        }
        for line in lines
    }
    what = "telling 1 000 readers that never read: p99"
    note = "the keeper's own journal and story, whose telling is a part of its loop"
    return value("never-read", what, "ms", figures, 1, note=note)


def pinning(house, options):
    server = house.dormouse("never-read", app(house, "web"))
    answered(server, "web.example")
    beside = {"dormouse": True, "without": False}
    turns = {who: [] for who in beside}
    for who in in_turns(beside, options.rounds):
        lazy = []
        if beside[who]:
            told = ("web.example", "/.dormouse/events", VISITORS)
            lazy.append(Visitors(house, "lazy", server.port, *told))
            admin = (f"127.0.0.1:{server.admin}", "/api/v1/events", ADMINS)
            lazy.append(Visitors(house, "lazy", server.admin, *admin))
            for readers in lazy:
                readers.until_ready()
        turns[who].append(Visitors(house, "pins", server.admin, "web", options.pins).told())
        for readers in lazy:
            readers.end()
    house.end_all()
    figures = percentiles(turns)
    more = (figures["dormouse"]["median"] - figures["without"]["median"]) / 1e3
    what = f"a pin's p99 beside {VISITORS + ADMINS:,} readers that never read".replace(",", " ")
    note = f"{more:.2f} ms more than without; it waits for the disk and the network, too"
    return ratio("never-read", what, "µs", figures, None, peer="without", note=note)


DEAD = 'wake_timeout = "3s"\nheld = { requests = 1000, per_client = 1000 }\n'


def app(house, name, knob="", keys=""):
    """A workload that is the test application, at NAME.example, which is never idle."""
    words = [str(house.app_binary), "PORT=$PORT"] + ([knob] if knob else [])
    return (
        f'[workload.{name}]\ncommand = {json.dumps(words)}\nhosts = ["{name}.example"]\n'
        f'idle_timeout = "never"\n{keys}'
    )


def answered(server, host):
    if (status := get(server.port, "/instance", host)) != 200:
        raise RuntimeError(f"{host} answers {status}")
    name = host.removesuffix(".example")
    if workload_at(server.admin, name)["phase"] != "ready":
        raise RuntimeError(f"{name} is not ready")


def in_turns(subjects, rounds):
    """Everybody in each round, and everybody follows everybody else in some round."""
    names = list(subjects)
    for turn in range(rounds):
        at = turn % len(names)
        yield from names[at:] + names[:at]


def steady(house, server, whom, seconds):
    host, rate, connections = whom
    return Visitors(house, "steady", server.port, host, rate, connections, seconds).told()


def percentiles(turns):
    return {
        who: seen(
            [one["p99_us"] for one in rows],
            sum(one["failed"] for one in rows),
            sum(one["asked"] for one in rows),
        )
        for who, rows in turns.items()
    }


class Visitors:
    """The process that asks or misbehaves, as `visitors` of testkit does."""

    def __init__(self, house, order, port, *words):
        binary = house.binary.with_name("visitors")
        measures = order in ("steady", "pins")
        words = [str(word) for word in words]
        self.process = subprocess.Popen(
            ([] if measures else ["nice", "-n", "19"]) + [str(binary), order, f"127.0.0.1:{port}", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        house.beside.append(self)

    def told(self):
        """What it says at its end."""
        text, _ = self.process.communicate(timeout=300)
        return json.loads(text)

    def until_ready(self):
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise RuntimeError(f"those who misbehave are not there: {line}")

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Peak(threading.Thread):
    """The most memory that a server has meanwhile."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.kib, self.over = server, server.rss_kib(), threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            self.kib = max(self.kib, self.server.rss_kib())

    def end(self):
        self.over.set()
        self.join()
        return self.kib


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def files_max():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def mib(kib):
    return f"{kib / 1024:.1f} MiB"
