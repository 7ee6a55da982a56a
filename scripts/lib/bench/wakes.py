"""Wakes on the real engine: what dormouse adds to each, by the clock of the app and of a door
before the engine, so that the engine's own noise cancels wake by wake.

    client asks ─▶ start asked ─▶ start answered ─┐
                                app listens ──────┴─▶ look asked ─▶ look answered ─▶ first byte
    └── dormouse ──┘└─ engine and app ────────────┘└─ d. ┘└─ engine ────────────┘└─ dormouse ─┘

The look after a start is the engine's, for nobody knows the address before; whatever else is asked
of the engine counts as dormouse's. A paused container keeps its address: there, every look counts
as dormouse's.
"""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from engine import SOCKET, Container, Engine, Image
from house import post, wait_for, workload_at
from row import Row, seen

DEADLINE_S = 60
WAKE = {"kill": "start", "pause": "unpause"}
REQUEST = b"GET /instance HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n"


def cold(house, options):
    figures = measure(house, options, "kill", options.cold_wakes)
    what = "cold wake, what dormouse adds to the engine's and the app's own time"
    return rows("cold", what, figures, {"p50": 5, "p99": 30})


def pause(house, options):
    figures = measure(house, options, "pause", options.pause_wakes)
    what = "wake from pause, what dormouse adds to the engine's unpause"
    return rows("pause", what, figures, {"p50": 2, "p99": None})


def rows(name, what, figures, marks):
    if figures is None:
        return [Row(name, what, "ms", {}, None, "ms", marks["p50"], note="no engine answers")]
    note = (
        f"through dormouse p50 {at(figures['through'], 50):.1f} ms, the engine alone "
        f"p50 {at(figures['alone'], 50):.1f} ms. Without the time in which the engine looks for "
        f"dormouse ({figures['calls']:.1f} calls a wake) it adds p50 {at(figures['bare'], 50):.1f} ms"
    )
    failed, asked = figures["failed"], len(figures["added"]) + figures["failed"]
    made = []
    for percentile, mark in marks.items():
        own = seen(figures["added"], failed, asked)
        own["median"] = at(figures["added"], int(percentile[1:]))
        subjects = {"dormouse": own, "engine alone": seen(figures["alone"])}
        about = note if percentile == "p50" else ""
        row = Row(name, f"{what}, {percentile}", "ms", subjects, own["median"], "ms", mark)
        row.note = about
        made.append(row)
    return made


def measure(house, options, rest, wakes):
    engine = Engine()
    if not engine.answers():
        return None
    figures = {"added": [], "through": [], "alone": [], "bare": [], "failed": 0, "calls": 0}
    with (
        Image(engine, house.app_binary) as image,
        Container(image, f"own-{rest}") as own,
        Container(image, f"alone-{rest}") as alone,
        Door(house, rest) as door,
    ):
        server = house.dormouse(f"wake-{rest}", own.workload(rest), door.path)
        engine.act(alone.name, "start")
        answer(("127.0.0.1", server.port))
        for turn in range(wakes):
            put_to_sleep(server.admin)
            one_wake(server, door, rest, figures)
            if turn % options.alone_every == 0:
                engine.rest(alone.name, rest)
                figures["alone"].append(engine_alone(alone, rest))
        house.end(server)
    figures["calls"] /= max(len(figures["added"]), 1)
    return figures


class Door:
    """The process that records the calls to the engine."""

    def __init__(self, house, name):
        self.path = str(house.folder / f"door-{name}.sock")
        self.log = house.folder / f"door-{name}.log"

    def __enter__(self):
        script = str(Path(__file__).with_name("door.py"))
        command = [sys.executable, script, self.path, SOCKET, str(self.log)]
        self.process = subprocess.Popen(command)
        wait_for(lambda: Path(self.path).exists())
        self.at = 0
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def skip(self):
        self.at = self.log.stat().st_size if self.log.exists() else 0

    def calls(self):
        """What was called since the last skip, in the order of the answers."""
        with open(self.log) as log:
            log.seek(self.at)
            return [json.loads(line) for line in log.read().splitlines()]


def one_wake(server, door, rest, figures):
    door.skip()
    began = time.time_ns()
    try:
        first_byte, told = answer(("127.0.0.1", server.port))
        listening = json.loads(told)["listening_unix_ns"]
    except (OSError, ValueError, KeyError) as error:
        print(f"  a wake has failed: {error}", file=sys.stderr)
        figures["failed"] += 1
        return
    calls = [call for call in door.calls() if began <= call["asked"] <= first_byte]
    starts = [call for call in calls if call["call"].endswith(f"/{WAKE[rest]}")]
    if len(starts) != 1:
        figures["failed"] += 1
        return
    start = starts[0]
    up = max(start["answered"], listening)
    not_ours = up - start["asked"]
    if rest == "kill":
        not_ours += look_after(calls, start, up)
    engine = [(call["asked"], min(call["answered"], first_byte)) for call in calls]
    busy = covered(engine + [(start["asked"], up)])
    figures["bare"].append((first_byte - began - busy) / 1e6)
    figures["added"].append((first_byte - began - not_ours) / 1e6)
    figures["through"].append((first_byte - began) / 1e6)
    figures["calls"] += len(calls)


def look_after(calls, start, up):
    """How long the engine took to tell the address, as far as the app was listening already."""
    for call in calls:
        if call["asked"] >= start["answered"] and call["call"].endswith("/json"):
            return max(call["answered"] - max(call["asked"], up), 0)
    return 0


def covered(spans):
    """How much time lies in at least one of these spans."""
    total, end = 0, 0
    for begin, until in sorted(spans):
        total += max(until - max(begin, end), 0)
        end = max(end, until)
    return total


def put_to_sleep(admin):
    post(f"http://127.0.0.1:{admin}/api/v1/workloads/sleeper/sleep?force=true")
    wait_for(lambda: workload_at(admin, "sleeper")["phase"] == "asleep")


def engine_alone(container, rest):
    """From the call to the engine until the app answers, asked every half millisecond."""
    address = container.address() if rest == "pause" else None
    began = time.perf_counter()
    container.engine.act(container.name, WAKE[rest])
    address = address or container.address()
    while time.perf_counter() - began < DEADLINE_S:
        try:
            answer(address)
            return (time.perf_counter() - began) * 1e3
        except OSError:
            time.sleep(0.0005)
    raise RuntimeError("the container does not answer")


def answer(address):
    """When the first byte came, on the wall clock in nanoseconds, and the body of a 200."""
    with socket.create_connection(address, timeout=DEADLINE_S) as client:
        client.sendall(REQUEST)
        text = client.recv(65536)
        first_byte = time.time_ns()
        while part := client.recv(65536):
            text += part
    head, _, body = text.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"answered {head[:40]!r}")
    return first_byte, body


def at(values, percentile):
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percentile // 100) - 1, 0)] if ordered else 0.0
