"""Runs the rows that are asked for, or all; prints a table; writes docs/benchmarks.{md,json}."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from datetime import date
from pathlib import Path

import collector
import fleet
import herd
import memory
import neighbours
import report
import traffic
import wakes
from house import House, allow_many_files
from row import Row, row_of

ROOT = Path(__file__).resolve().parents[3]
JSON, PAGE = ROOT / "docs/benchmarks.json", ROOT / "docs/benchmarks.md"

# What a name measures, in the order of the page.
MEASURES = {
    "small": (traffic.small, "1 KiB answers over HTTP/1.1: CPU per request"),
    "large": (traffic.large, "1 MiB answers over HTTP/1.1: CPU per GiB"),
    "alone": (traffic.alone, "one connection: latency"),
    "h2c": (traffic.h2c, "HTTP/2 in the clear: CPU per request"),
    "bulk": (traffic.bulk, "raw TCP: CPU per GiB"),
    "idle": (memory.idle, "memory per idle keep-alive connection"),
    "held": (memory.held, "memory per held request"),
    "websocket": (memory.websocket, "memory per idle WebSocket"),
    "tcp": (memory.tcp, "memory per idle TCP connection"),
    "hundred": (memory.hundred, "memory of the process with 100 sleepers"),
    "cold": (wakes.cold, "cold wake on the real engine"),
    "pause": (wakes.pause, "wake from pause on the real engine"),
    "herd": (herd.herd, "10,000 first requests at once"),
    "dead-neighbour": (neighbours.dead_neighbour, "a neighbour beside 20,000 requests to a dead workload"),
    "slow-clients": (neighbours.slow_clients, "good clients beside 10,000 slow ones and floods of HTTP/2"),
    "never-read": (neighbours.never_read, "telling 1,000 readers that never read"),
    "rest": (fleet.rest, "100,000 sleepers: memory and CPU at rest"),
    "collector": (collector.collector, "the collection worker: CPU, memory, events"),
    "fleet": (fleet.events, "cost per event and timer, 1,000 to 1,000,000 workloads"),
}

# Half a minute each at least: `--quick` runs them only where they are named.
LONG = {"dead-neighbour", "slow-clients", "never-read"}


def main():
    options = parse()
    if options.list:
        print("\n".join(f"{name:<15} {about}" for name, (_, about) in MEASURES.items()))
        return
    # Whoever asks it to end wants everything that it started to end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    allow_many_files()
    names = options.rows or [name for name in MEASURES if not (options.quick and name in LONG)]
    taken = conditions(options, names)
    rows = [row for name in names for row in measure(name, options)]
    taken["load_after"] = round(os.getloadavg()[0], 1)
    print(report.table(rows))
    for row in rows:
        if row.note:
            print(f"{row.what}: {row.note}")
    if options.write or not (options.quick or options.rows):
        write(rows, taken)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="see --list; all when none is named")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--quick", action="store_true", help="in three minutes; writes nothing")
    parser.add_argument("--write", action="store_true", help="write the pages for some rows, too")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each load in each round")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [row for row in options.rows if row not in MEASURES]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; see --list")
    scale(options)
    return options


def scale(options):
    quick = options.quick
    options.rounds = options.rounds or (2 if quick else 5)
    options.seconds = options.seconds or (1 if quick else 2)
    options.connections = 200 if quick else 1000
    options.cold_wakes = 5 if quick else 60
    options.pause_wakes = 10 if quick else 150
    options.alone_every = 2 if quick else 3
    options.herd = 2_000 if quick else 10_000
    options.herds = 1 if quick else 2
    options.dead_requests = 2_000 if quick else 20_000
    options.slow_clients = 1_000 if quick else 10_000
    options.floods = 1 if quick else 5
    options.good_seconds = 1 if quick else 3
    options.pins = 200 if quick else 1_000
    options.cycles = 3 if quick else 4
    options.collector_sizes = (1000,) if quick else (1, 100, 1000, 2000)
    options.events = 100 if quick else 500
    options.collected = 5 if quick else 60
    options.sleepers = 10_000 if quick else 100_000
    options.rest_seconds = 5 if quick else 60


def measure(name, options):
    """A row that cannot be measured says so, and stops no other."""
    function, about = MEASURES[name]
    began = time.monotonic()
    print(f"== {name}: {about}", file=sys.stderr, flush=True)
    try:
        with House(Path(options.binary).resolve()) as house:
            rows = function(house, options)
            for who, why in house.missing.items():
                for row in rows:
                    row.note = f"{row.note} {who} could not be measured: {why}".strip()
    except Exception as error:
        traceback.print_exc()
        rows = [Row(name, about, "", {}, None, "", 0, note=f"not measured: {error}")]
    print(f"   {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def write(rows, taken):
    """Rows that were not run this time keep what they said last."""
    kept, told = [], []
    if JSON.exists():
        before = json.loads(JSON.read_text())
        new = set(taken["rows"])
        kept = [row_of(row) for row in before.get("rows", []) if row["name"] not in new]
        told = [one | {"rows": [r for r in one["rows"] if r not in new]} for one in before.get("taken", [])]
    order = list(MEASURES)
    rows = sorted(kept + rows, key=lambda row: order.index(row.name))
    told = [one for one in told if one["rows"]] + [taken]
    figures = {"taken": told, "rows": [row.to_json() for row in rows]}
    JSON.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(report.page(rows, told))


def conditions(options, names):
    return {
        "date": date.today().isoformat(),
        "rows": names,
        "commit": first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "load_before": round(os.getloadavg()[0], 1),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": [
            first_line("nginx", "-v").removeprefix("nginx version: "),
            "haproxy " + first_line("haproxy", "-v").split()[2],
            "caddy " + first_line("caddy", "version").split()[0],
            first_line("wrk", "-v").split(" Copyright")[0],
            first_line("h2load", "--version"),
        ],
    }


def first_line(*command):
    text = subprocess.run(command, capture_output=True, text=True, check=False)
    return (text.stdout or text.stderr).strip().splitlines()[0]


if __name__ == "__main__":
    main()
