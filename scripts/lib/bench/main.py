"""Runs every bench, prints a table, and writes docs/benchmarks.md and docs/benchmarks.json."""

import argparse
import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import load
import report
import wakes
from house import House

ROOT = Path(__file__).resolve().parents[3]


def main():
    options = parse()
    load.allow_many_files()
    with House(Path(options.binary).resolve()) as house:
        figures = {
            "date": date.today().isoformat(),
            "machine": machine(),
            "settings": {"rounds": options.rounds, "seconds": options.seconds},
        }
        figures["traffic"] = traffic(house, options)
        figures["memory"] = memory(house, options)
        figures["wakes"] = wake_figures(house, options)
    rows = report.rows(figures)
    print(report.table(rows))
    if not options.quick:
        (ROOT / "docs/benchmarks.json").write_text(json.dumps(figures, indent=2) + "\n")
        (ROOT / "docs/benchmarks.md").write_text(report.page(figures, rows))


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing is written")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.count = 200 if options.quick else 1000
    options.wakes = 5 if options.quick else 40
    return options


def traffic(house, options):
    upstream = house.upstream()
    nginx = house.nginx_proxy(upstream)
    dormouse = house.dormouse("traffic", house.upstream_workload()[0])
    assert load.get(dormouse.port)[1] == 200, "the workload does not answer"
    # The workers of nginx are its children; a child of dormouse is the workload, not its own work.
    servers = {"nginx": (nginx, True), "dormouse": (dormouse, False)}
    rounds, seconds = options.rounds, options.seconds
    figures = {
        "small": load.warm(servers, "/small", load.CONNECTIONS, rounds, seconds),
        "large": load.warm(servers, "/large", 16, rounds, seconds),
        "alone": load.warm(servers, "/small", 1, rounds, seconds),
    }
    for server in (nginx, dormouse):
        house.end(server)
    return figures


def memory(house, options):
    """Each figure from a process of its own, so that none finds room that another has freed."""
    upstream = house.upstream()
    nginx = house.nginx_proxy(upstream)
    dormouse = house.dormouse("idle", house.upstream_workload("up2")[0])
    assert load.get(dormouse.port)[1] == 200, "the workload does not answer"
    never = '[workload.never]\ncommand = ["/bin/sleep", "600"]\nport = 9\nhosts = ["*"]\n'
    held = house.dormouse("held", never + 'wake_timeout = "10m"\n')
    figures = {
        "idle_connection_kib": {
            "nginx": load.idle_connection_kib(nginx, True, options.count),
            "dormouse": load.idle_connection_kib(dormouse, False, options.count),
        },
        "held_request_kib": load.held_request_kib(held, options.count),
        "sleepers_rss_kib": load.sleepers_rss_kib(house, 100),
        "connections": options.count,
    }
    for server in (nginx, dormouse, held):
        house.end(server)
    return figures


def wake_figures(house, options):
    engine = wakes.Engine()
    if not engine.answers():
        return None
    return {rest: wakes.compare(house, engine, rest, options.wakes) for rest in ("kill", "pause")}


def machine():
    def first_line(*command):
        text = subprocess.run(command, capture_output=True, text=True, check=False)
        return (text.stdout or text.stderr).strip().splitlines()[0]

    return {
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "load_before": round(os.getloadavg()[0], 1),
        "nginx": first_line("nginx", "-v"),
        "wrk": first_line("wrk", "-v"),
    }


if __name__ == "__main__":
    main()
