"""Warm traffic: dormouse and its peers on the same kind of upstream, in interleaved rounds."""

import re
import subprocess

from house import cpu_us_between, get
from row import absent, ratio, seen

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
GIB_PER_LARGE = 1024
MIB_PER_GIB = 1024
MIB = {"KB": 1 / 1024, "MB": 1.0, "GB": 1024.0}


def small(house, options):
    figures = compare(house, options, lambda server: wrk(server, "/small", 64, options.seconds))
    what = "HTTP/1.1, 1 KiB, 64 connections: CPU per request"
    return [ratio("small", what, "µs", figures["cpu"], 1.0, note=ABOUT_DIRECT)]


def large(house, options):
    figures = compare(house, options, lambda server: wrk(server, "/large", 16, options.seconds))
    per_gib = {
        who: scaled(one, GIB_PER_LARGE / 1e3) for who, one in figures["cpu"].items()
    }
    what = "HTTP/1.1, 1 MiB, 16 connections: CPU per GiB"
    return [ratio("large", what, "ms", per_gib, 0.95, note="nginx with buffers of 64 KiB.")]


def alone(house, options):
    figures = compare(house, options, lambda server: wrk(server, "/small", 1, options.seconds))
    what = "HTTP/1.1, 1 KiB, one connection: latency p50"
    return [ratio("alone", what, "µs", figures["p50"], 1.1)]


def h2c(house, options):
    figures = compare(house, options, lambda server: h2load(server, options.seconds), http2=True)
    what = "HTTP/2 in the clear, 1 KiB, 8 connections of 8 streams: CPU per request"
    why = "dormouse has no TLS listener yet"
    return [
        ratio("h2c", what, "µs", figures["cpu"], None, note="The mark is for TLS."),
        absent("h2c", "HTTP/2 over TLS, 1 KiB: CPU per request", 0.75, "×", "nginx", why),
    ]


def bulk(house, options):
    """Long downloads as bytes that nobody on the way understands."""
    upstream = house.upstream()
    starts = {
        "haproxy": lambda: house.haproxy_tcp(upstream.port),
        "dormouse": lambda: house.dormouse_tcp("bulk", house.files_port()),
    }
    if house.nginx_stream_module().exists():
        starts["nginx"] = lambda: house.nginx_stream(upstream.port)
    starts = {who: answering(start) for who, start in starts.items()}
    servers = house.start_each(starts)
    load = lambda server: wrk_bytes(server, "/bulk", 4, options.seconds)
    turns = in_turns({"direct": upstream} | servers, options.rounds, load)
    house.end_all()
    per_mib = summary(turns, "cpu")
    per_gib = {who: scaled(one, MIB_PER_GIB / 1e6) for who, one in per_mib.items()}
    what = "raw TCP bulk: CPU per GiB"
    note = "haproxy with splice. Files of 64 MiB over 4 connections."
    return [ratio("bulk", what, "s", per_gib, 0.5, peer="haproxy", note=note)]


ABOUT_DIRECT = "`direct` is the upstream alone, with its own CPU."


def compare(house, options, load, http2=False):
    """CPU time per request and the median latency of everybody, in turns."""
    upstream = house.upstream()
    starts = {
        "nginx": lambda: house.nginx(upstream.port, http2),
        "haproxy": lambda: house.haproxy(upstream.port, http2),
        "caddy": lambda: house.caddy(upstream.port, http2),
        "dormouse": lambda: house.dormouse("traffic", house.files_workload()),
    }
    if not http2:
        starts = {who: answering(start) for who, start in starts.items()}
    else:
        starts["dormouse"] = answering(starts["dormouse"])
    servers = house.start_each(starts)
    if not http2:
        servers = {"direct": upstream} | servers
    turns = in_turns(servers, options.rounds, load)
    house.end_all()
    return {kind: summary(turns, kind) for kind in ("cpu", "p50")}


def in_turns(servers, rounds, load):
    """What everybody has done and used, round after round."""
    turns = {who: [] for who in servers}
    for turn in range(rounds):
        # Everybody follows everybody else in some round.
        order = list(servers)[turn % len(servers) :] + list(servers)[: turn % len(servers)]
        for who in order if turn % 2 == 0 else order[::-1]:
            server = servers[who]
            before = server.cpu()
            one = load(server)
            one["cpu"] = cpu_us_between(before, server.cpu()) / max(one["asked"], 1)
            turns[who].append(one)
    return turns


def answering(start):
    """Starts it, and lets it answer once over HTTP/1.1, which wakes what sleeps behind it."""

    def started():
        server = start()
        if (status := get(server.port)) != 200:
            raise RuntimeError(f"it answers {status}")
        return server

    return started


def summary(turns, kind):
    return {
        who: seen(
            [one[kind] for one in rows],
            sum(one["failed"] for one in rows),
            sum(one["asked"] for one in rows),
        )
        for who, rows in turns.items()
    }


def scaled(one, factor):
    return one | {key: one[key] * factor for key in ("median", "low", "high")}


def wrk_bytes(server, path, connections, seconds):
    """The same, with what was asked counted in MiB: the last files of a load are not whole."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
    url = f"http://127.0.0.1:{server.port}{path}"
    text = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    amount, unit = re.search(r"([\d.]+)(KB|MB|GB) read", text).groups()
    return {"asked": round(float(amount) * MIB[unit]), "failed": errors_of(text)}


def wrk(server, path, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{server.port}{path}"
    text = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    return {
        "asked": int(re.search(r"(\d+) requests in", text)[1]),
        "p50": float(number) * UNITS[unit],
        "failed": errors_of(text),
    }


def errors_of(text):
    """What wrk says went wrong."""
    kinds = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
    errors = re.search(kinds, text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return sum(map(int, errors.groups() if errors else ())) + (int(refused[1]) if refused else 0)


def h2load(server, seconds):
    """Prior knowledge: no TLS, no upgrade."""
    command = ["h2load", "-t1", "-c8", "-m8", "-D", str(seconds), "--warm-up-time=0"]
    url = f"http://127.0.0.1:{server.port}/small"
    text = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    counts = r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
    done, _, failed, errored, timeout = map(int, re.search(counts, text).groups())
    codes = re.search(r"status codes: (\d+) 2xx", text)
    mean, unit = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text).groups()
    other = done - int(codes[1])
    return {
        "asked": done,
        "p50": float(mean) * UNITS[unit],
        "failed": max(failed + errored + timeout, other),
    }
