"""`dormouse collect` beside the figures of the worker that it replaces: what a sample costs, what the
process takes, how long a cycle is, how late events are, and how many are lost."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

from engine import SOCKET, Container, Engine, Image
from house import Cpu, free_port, rss_kib, wait_for
from row import Row, seen, value

# The worker that it replaces, compiled with Go 1.19, as the contract of the collector has it.
ORIGINAL = {"sample": 70, "memory": "12–16", "memory50": 29, "files50": 459, "latency": 0.3}
INTERVAL_MS = 400
ENVIRONMENTS = 50
EACH = 20
REAL = 60
DEADLINE_S = 120
QUIET_S = 10


class Worker:
    """`dormouse collect`, as its parent sees it."""

    def __init__(self, house, name):
        self.log = open(house.folder / f"{name}.err", "wb")
        env = os.environ | {"SKIP_DF_COLLECTION": "1", "RUST_LOG": "warn"}
        self.process = subprocess.Popen(
            [str(house.binary), "collect"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=env,
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        self.until(lambda line: line["type"] == "ready")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def say(self, **message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def configure(self, env, config):
        self.say(type="configure", envId=env, name=f"env{env}",
                 connectionType=config["type"], config=config)

    def until(self, wanted):
        """The next line that is wanted, with when it came."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            at, line = self.lines.get(timeout=max(deadline - time.monotonic(), 0.001))
            if line is None:
                raise RuntimeError("the worker has ended")
            if wanted(line):
                return at, line

    def skip(self):
        while not self.lines.empty():
            self.lines.get()

    def cpu(self):
        return Cpu(self.process.pid)

    def rss_mib(self):
        return rss_kib(self.process.pid) / 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _read(self):
        for line in self.process.stdout:
            at = time.perf_counter_ns()
            self.lines.put((at, json.loads(line)))
        self.lines.put((0, None))


class Fakes:
    """Fake engines in a process of their own."""

    def __init__(self, house, engines, containers):
        command = [str(house.binary.with_name("fakefleet")), str(engines), str(containers)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        self.sockets = []
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "ready":
                return self
            self.sockets.append(rest)
        raise RuntimeError("the fake engines have ended")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    def events(self, prefix, count, every_ms, cuts=0):
        self.process.stdin.write(f"events {prefix} {count} {every_ms} {cuts}\n")
        self.process.stdin.flush()
        while self.process.stdout.readline().strip() != "done":
            if self.process.poll() is not None:
                raise RuntimeError("the fake engines have ended")


def collector(house, options):
    parts = [
        (f"collector, {thousands(count)} containers over the API",
         lambda count=count: one_environment(house, options, count))
        for count in options.collector_sizes
    ]
    parts += [
        (f"collector, {ENVIRONMENTS} environments", lambda: many_environments(house, options)),
        ("collector, events of one engine", lambda: events(house, options)),
        ("collector, the real engine", lambda: real_engine(house, options)),
    ]
    return [row for what, part in parts for row in measured(what, part)]


def measured(what, part):
    """A part that cannot be measured says so, and takes no other with it."""
    try:
        return part()
    except (OSError, RuntimeError, queue.Empty) as error:
        return [Row("collector", what, "", {}, None, "", 0, note=f"not measured: {error!r}")]


def one_environment(house, options, containers):
    with Fakes(house, 1, containers) as fakes, Worker(house, f"collect-{containers}") as worker:
        figures = measure(worker, {1: socket_config(fakes.sockets[0])}, containers, options)
        cycle = cycle_s(worker, options)
    what = f"collector, {thousands(containers)} containers over the API"
    rows = [value("collector", f"{what}: CPU per sample", "µs",
                  {"dormouse": figures["sample"], **original("sample", containers == 1000)},
                  12 if containers == 1000 else None)]
    if containers == 1000:
        memory = {"dormouse": figures["memory"]}
        rows.append(value("collector", f"{what}: memory", "MiB", memory, 6,
                          against=f"the original {ORIGINAL['memory']} MiB"))
    rows.append(value("collector", f"{what}: a cycle", "s", {"dormouse": cycle}, None))
    return rows


def many_environments(house, options):
    with Fakes(house, ENVIRONMENTS, EACH) as fakes, Worker(house, "collect-many") as worker:
        configs = {n: socket_config(path) for n, path in enumerate(fakes.sockets, 1)}
        figures = measure(worker, configs, EACH, options)
        # A dashboard asks every ten seconds or more: what is open between two cycles counts.
        worker.say(type="set_metrics_interval", intervalMs=30_000)
        time.sleep(QUIET_S)
        between = seen([worker.files()])
    what = f"collector, {ENVIRONMENTS} environments of {EACH} over the API"
    note = f"{figures['files']['median']:.0f} with a cycle every {INTERVAL_MS} ms"
    return [
        value("collector", f"{what}: CPU per sample", "µs", {"dormouse": figures["sample"]}, None),
        value("collector", f"{what}: memory", "MiB",
              {"dormouse": figures["memory"], **original("memory50", True)}, 12),
        value("collector", f"{what}: descriptors between cycles", "",
              {"dormouse": between, **original("files50", True)}, 110, note=note),
    ]


def real_engine(house, options):
    engine, count = Engine(), options.collected
    what = f"collector, the real engine with {count} containers"
    if not engine.answers():
        return [Row("collector", what, "µs", {}, None, "µs", 20, note="no engine answers")]
    containers, rows = [], []
    with Image(engine, house.app_binary) as image:
        try:
            for n in range(count):
                container = Container(image, f"collected{n}")
                containers.append(container.__enter__())
                engine.act(container.name, "start")
            for way, config in ways(house).items():
                rows += real_rows(house, options, way, config, count, what)
        finally:
            for container in containers:
                container.__exit__()
    return rows


def ways(house):
    """The engine's socket, whose control groups can be read, and the same engine over TCP."""
    port = free_port()
    script, log = Path(__file__).with_name("door.py"), house.folder / "tcp-door.log"
    address = f"127.0.0.1:{port}"
    house.run("tcp-door", [sys.executable, str(script), address, SOCKET, str(log)], port)
    return {
        "control groups": socket_config(SOCKET),
        "the API": {"type": "http", "host": "127.0.0.1", "port": port},
    }


def real_rows(house, options, way, config, count, what):
    with Worker(house, f"collect-{way.split()[-1]}") as worker:
        figures = measure(worker, {1: config}, None, options)
        cycle = cycle_s(worker, options)
    by_groups = way == "control groups"
    note = f"as many containers as run on the machine, at least {count}"
    return [
        value("collector", f"{what}, by {way}: CPU per cycle", "ms", {"dormouse": figures["cycle"]},
              None, note=note),
        value("collector", f"{what}, by {way}: CPU per sample", "µs",
              {"dormouse": figures["sample"]}, 20 if by_groups else None),
        value("collector", f"{what}, by {way}: a cycle", "s", {"dormouse": cycle},
              None if by_groups else 1.3),
    ]


def measure(worker, configs, containers, options):
    """CPU per sample in rounds of some cycles, memory and descriptors at the end."""
    worker.say(type="set_metrics_interval", intervalMs=INTERVAL_MS)
    for env, config in configs.items():
        worker.configure(env, config)
    seen_of = set()
    while len(seen_of) < len(configs):
        seen_of.add(worker.until(is_metrics)[1]["envId"])
    if containers is None:
        containers = running_containers()
    samples, cycles = [], []
    for _ in range(options.rounds):
        cycles.append(cpu_per_cycle(worker, len(configs), options) / 1e3)
        samples.append(cycles[-1] * 1e3 / containers)
    return {
        "sample": seen(samples),
        "cycle": seen(cycles),
        "memory": seen([worker.rss_mib()]),
        "files": seen([worker.files()]),
    }


def cpu_per_cycle(worker, environments, options):
    """Microseconds of CPU for each cycle of one environment."""
    worker.skip()
    worker.until(is_metrics)
    before, wanted = worker.cpu(), options.cycles * environments
    for _ in range(wanted):
        worker.until(is_metrics)
    return worker.cpu().us_since(before) / wanted


def cycle_s(worker, options):
    """How long cycles are that follow each other at once."""
    worker.say(type="set_metrics_interval", intervalMs=1)
    for _ in range(2):
        worker.until(is_metrics)
    worker.skip()
    last, lengths = worker.until(is_metrics)[0], []
    for _ in range(options.cycles):
        at, _ = worker.until(is_metrics)
        lengths.append((at - last) / 1e9)
        last = at
    return seen(lengths)


def events(house, options):
    count, what = options.events, "collector, events of one engine"
    with Fakes(house, 1, 2) as fakes, Worker(house, "collect-events") as worker:
        worker.configure(1, socket_config(fakes.sockets[0]))
        worker.until(lambda line: line["type"] == "env_status" and line["online"])
        wait_until_listening(fakes, worker)
        latency = added_latency(fakes, worker, count)
        fakes.events("cut", count, 2, cuts=10)
        cut = lost(worker, "cut", count)
        worker.say(type="set_event_mode", mode="poll", pollIntervalMs=1000)
        time.sleep(1.5)
        fakes.events("poll", count, 10)
        poll = lost(worker, "poll", count)
    return [
        value("collector", f"{what}: added latency, median", "ms",
              {"dormouse": seen([median(latency)]), **original("latency", True)}, 0.1),
        lost_row(f"{what}: lost of {count} while its stream is cut 10 times", cut, count,
                 "the original 44 of 101 by one cut"),
        lost_row(f"{what}: lost of {count} in poll mode", poll, count, "the original half"),
    ]


def lost_row(what, count, asked, against):
    figures = {"dormouse": seen([count], count, asked)}
    return value("collector", what, "", figures, 0, against=against)


def wait_until_listening(fakes, worker):
    """An event comes through."""
    for attempt in range(100):
        fakes.events(f"first{attempt}-", 1, 1)
        try:
            at = time.monotonic() + 1
            while time.monotonic() < at:
                _, line = worker.lines.get(timeout=0.5)
                if line and line["type"] == "container_event":
                    return
        except queue.Empty:
            continue
    raise RuntimeError("no event comes through")


def added_latency(fakes, worker, count):
    """How much later than at a reader of the engine's own stream each event is there."""
    direct = {}
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(fakes.sockets[0])
    stream.sendall(b"GET /v1.41/events HTTP/1.1\r\nHost: engine\r\n\r\n")
    reader = threading.Thread(target=read_events, args=(stream, direct), daemon=True)
    reader.start()
    time.sleep(0.2)
    worker.skip()
    fakes.events("late", count, 5)
    through = {}
    while len(through) < count:
        at, line = worker.until(lambda line: line["type"] == "container_event")
        through[event_name(line["event"])] = at
    wait_for(lambda: len(direct) >= count)
    stream.close()
    return [(at - direct[name]) / 1e6 for name, at in through.items() if name in direct]


def read_events(stream, seen_at):
    """Notes when each event's line was there; the chunks' own lines are passed over."""
    with stream.makefile("rb") as lines:
        try:
            for line in lines:
                at = time.perf_counter_ns()
                if line.startswith(b"{"):
                    seen_at[event_name(json.loads(line))] = at
        except (OSError, ValueError):
            return


def lost(worker, prefix, count):
    """How many of these events have not come within some time after the last one."""
    came, deadline = set(), time.monotonic() + 15
    while len(came) < count and time.monotonic() < deadline:
        try:
            _, line = worker.lines.get(timeout=0.5)
        except queue.Empty:
            continue
        if line and line["type"] == "container_event":
            name = event_name(line["event"])
            if name.startswith(prefix):
                came.add(name)
    return count - len(came)


def event_name(event):
    return event["Actor"]["Attributes"]["name"]


def is_metrics(line):
    return line["type"] == "metrics"


def running_containers():
    return len(json.loads(Engine().call("GET", "/containers/json")[1]))


def original(key, applies):
    if not applies:
        return {}
    return {"the original": seen([ORIGINAL[key]])}


def socket_config(path):
    return {"type": "socket", "socketPath": path}


def thousands(count):
    return f"{count:,}".replace(",", " ")
