"""Large fleets: what a sleeper takes in memory and at rest, and what an event costs the core."""

import json
import os
import subprocess
import time
from pathlib import Path

from house import cpu_us_between, get
from memory import sleepers
from row import Row, seen, value

ROOT = Path(__file__).resolve().parents[3]
FEW = 1_000
SETTLE_S = 5
KINDS = {
    "event": "cost per event of the fleet, 1 000 of them busy, 1 000 to 1 000 000 workloads",
    "timer": "cost per timer of the fleet, 1 000 of them busy, 1 000 to 1 000 000 workloads",
    "cold": "cost per event, all of them busy in turns (their memory is in no cache)",
}


def rest(house, options):
    """A fleet of processes that have never been started, as a file defines them."""
    few, _ = start(house, FEW)
    base_kib = few.rss_kib()
    house.end(few)
    many, took_s = start(house, options.sleepers)
    per_sleeper = (many.rss_kib() - base_kib) / (options.sleepers - FEW)
    before, began = many.cpu(), time.monotonic()
    time.sleep(options.rest_seconds)
    used_us = cpu_us_between(before, many.cpu())
    share = used_us / 1e4 / (time.monotonic() - began)
    note = f"{many.rss_kib() / 1024:.0f} MiB in all; it served {took_s:.1f} s after its start"
    house.end(many)
    count = f"{options.sleepers:,}".replace(",", " ")
    return [
        value("rest", f"memory per further sleeping workload, at {count}", "KiB",
              {"dormouse": seen([per_sleeper])}, 1, note=note),
        value("rest", f"CPU of {count} sleepers at rest, of one core", "%",
              {"dormouse": seen([share])}, 0.1, against="GoDoxy: 5 timer ticks a second each"),
    ]


def start(house, count):
    began = time.monotonic()
    server = house.dormouse(f"sleepers-{count}", sleepers(count))
    status = get(server.port, "/.dormouse/status", host=f"w{count - 1}.example", timeout=300)
    if status != 200:
        raise RuntimeError(f"{count} sleepers: the last one's status answers {status}")
    took_s = time.monotonic() - began
    time.sleep(SETTLE_S)
    return server, took_s


def events(house, options):
    """The core's own bench: no I/O, in nanoseconds of its thread's CPU time."""
    command = ["cargo", "bench", "--quiet", "--package", "dormouse-core", "--bench", "fleet", "--"]
    command += ["--rounds", str(options.rounds)]
    text = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    ).stdout
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    made = []
    for kind, what in KINDS.items():
        of_kind = [line for line in lines if line["kind"] == kind]
        figures = {
            f"{line['workloads']:,}".replace(",", " "): {
                "median": line["ns"], "low": line["min"], "high": line["max"],
                "rounds": options.rounds, "failed": 0, "asked": 0,
            }
            for line in of_kind
        }
        costs = [line["ns"] for line in of_kind]
        growth = max(costs) / costs[0]
        mark = None if kind == "cold" else 1.5
        row = Row("fleet", what, "ns", figures, growth, "×", mark, against="1 000 workloads")
        made.append(row)
    return made
