"""Warm traffic and memory: nginx and dormouse on the same upstream, in interleaved rounds."""

import re
import resource
import socket
import subprocess
import time
from statistics import median

from house import get, rss_kib

CONNECTIONS = 64
# After this long without a request dormouse has given the buffers of a connection back.
SETTLE_S = 12

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def warm(servers, path, connections, rounds, seconds):
    """CPU time per request of each server, its failures, and the median latency wrk saw."""
    figures = {name: [] for name in servers}
    for turn in range(rounds):
        names = list(servers) if turn % 2 == 0 else list(servers)[::-1]
        for name in names:
            server, with_children = servers[name]
            before = server.cpu_us(with_children)
            seen = wrk(server.port, path, connections, seconds)
            seen["cpu_us"] = (server.cpu_us(with_children) - before) / max(seen["requests"], 1)
            figures[name].append(seen)
    return {name: summary(rows) for name, rows in figures.items()}


def summary(rows):
    cpu = sorted(row["cpu_us"] for row in rows)
    return {
        "cpu_us": median(cpu),
        "cpu_us_min": cpu[0],
        "cpu_us_max": cpu[-1],
        "latency_p50_us": median(row["latency_p50_us"] for row in rows),
        "requests": sum(row["requests"] for row in rows),
        "failures": sum(row["failures"] for row in rows),
        "rounds": len(rows),
    }


def wrk(port, path, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{port}{path}"
    text = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    kinds = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
    errors = re.search(kinds, text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {
        "requests": int(re.search(r"(\d+) requests in", text)[1]),
        "latency_p50_us": float(number) * UNITS[unit],
        "failures": sum(map(int, errors.groups() if errors else ()))
        + (int(refused[1]) if refused else 0),
    }


def idle_connection_kib(server, with_children, count):
    """Memory per connection that has had one answer and is idle."""
    return held_open(server, with_children, count, read_answer=True, settle_s=SETTLE_S)


def held_request_kib(server, count):
    """Memory per request that waits for a workload that does not get ready."""
    return held_open(server, False, count, read_answer=False, settle_s=3)


def held_open(server, with_children, count, read_answer, settle_s):
    before = server.rss_kib(with_children)
    clients = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            clients.append(client)
            client.sendall(b"GET /small HTTP/1.1\r\nHost: bench.example\r\n\r\n")
            if read_answer:
                read_whole_answer(client)
        time.sleep(settle_s)
        return (server.rss_kib(with_children) - before) / count
    finally:
        for client in clients:
            client.close()


def read_whole_answer(client):
    seen = b""
    while True:
        part = client.recv(65536)
        if not part:
            raise RuntimeError("the connection ended before its answer did")
        seen += part
        head, found, body = seen.partition(b"\r\n\r\n")
        if found and len(body) >= int(re.search(rb"(?i)content-length: (\d+)", head)[1]):
            return


def allow_many_files():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sleepers_rss_kib(house, count):
    """Memory of the whole process with so many workloads that sleep, after its start."""
    workloads = "".join(
        f'[workload.w{n}]\ncommand = ["/bin/false"]\nport = {20000 + n}\nhosts = ["w{n}.example"]\n'
        for n in range(count)
    )
    server = house.dormouse("sleepers", workloads)
    try:
        get(server.port, "/.dormouse/status", host="w0.example")
        time.sleep(3)
        return rss_kib(server.process.pid)
    finally:
        house.end(server)
