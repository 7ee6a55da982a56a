"""Memory: what an idle connection, a held request, an idle WebSocket and a sleeper take."""

import re
import socket
import time

from house import get
from row import seen, value

# After this long without a request dormouse has given the buffers of a connection back.
SETTLE_S = 12
HELD_SETTLE_S = 3
REQUEST = b"GET /small HTTP/1.1\r\nHost: bench.example\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# A masked text message of the two letters "hi".
MESSAGE = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi"
ECHO = bytes([0x81, 0x02]) + b"hi"


def idle(house, options):
    upstream = house.upstream()
    servers = beside(house, upstream.port, house.files_workload())
    figures = measure(servers, options, answered, SETTLE_S)
    house.end_all()
    return [value("idle", "memory per idle keep-alive connection", "KiB", figures, 8)]


def websocket(house, options):
    app = house.app()
    servers = beside(house, app.port, house.app_workload())
    get(servers["dormouse"].port, "/")
    figures = measure(servers, options, upgraded, SETTLE_S)
    house.end_all()
    return [value("websocket", "memory per idle WebSocket", "KiB", figures, 8)]


def tcp(house, options):
    """Connections that have said something, and had it answered, and are silent since."""
    upstream = house.upstream()
    starts = {
        "haproxy": lambda: house.haproxy_tcp(upstream.port),
        "dormouse": lambda: house.dormouse_tcp("memory", house.files_port()),
    }
    servers = house.start_each(starts)
    figures = measure(servers, options, answered, HELD_SETTLE_S)
    house.end_all()
    return [value("tcp", "memory per idle TCP connection", "KiB", figures, 8)]


def held(house, options):
    never = '[workload.never]\ncommand = ["/bin/sleep", "600"]\nport = 9\nhosts = ["*"]\n'
    never += 'wake_timeout = "10m"\nheld = { requests = 20000, per_client = 20000 }\n'
    servers = {"dormouse": house.dormouse("held", never)}
    figures = measure(servers, options, asked, HELD_SETTLE_S)
    house.end_all()
    return [value("held", "memory per held request", "KiB", figures, 12)]


def hundred(house, options):
    """The whole process, in several starts."""
    seen_mib = []
    for _ in range(max(options.rounds // 2, 1)):
        server = house.dormouse("hundred", sleepers(100))
        get(server.port, "/.dormouse/status", host="w0.example")
        time.sleep(HELD_SETTLE_S)
        seen_mib.append(server.rss_kib() / 1024)
        house.end(server)
    what = "memory of the process with 100 sleeping workloads"
    figures = {"dormouse": seen(seen_mib)}
    return [value("hundred", what, "MiB", figures, 12, note="GoDoxy 38, ContainerNursery 80.")]


def sleepers(count):
    """So many workloads that sleep, as a file has them."""
    return "".join(
        f'[workload.w{n}]\ncommand = ["/bin/false"]\nport = {20000 + n % 10000}\n'
        f'hosts = ["w{n}.example"]\n'
        for n in range(count)
    )


def beside(house, upstream, workload):
    starts = {
        "nginx": lambda: house.nginx(upstream),
        "haproxy": lambda: house.haproxy(upstream),
        "caddy": lambda: house.caddy(upstream),
        "dormouse": lambda: house.dormouse("memory", workload),
    }
    return house.start_each(starts)


def measure(servers, options, open_one, settle_s):
    """KiB for each connection that `open_one` leaves open, of everybody at the same time."""
    clients, before, failed = [], {}, dict.fromkeys(servers, 0)
    # What a start took is given back by then, and is not taken for what connections give back.
    time.sleep(HELD_SETTLE_S)
    try:
        for who, server in servers.items():
            # The first visitor finds everything that is made once.
            clients.append(connect(server, open_one))
            before[who] = server.own_kib()
            for _ in range(options.connections):
                try:
                    clients.append(connect(server, open_one))
                except (RuntimeError, OSError):
                    failed[who] += 1
        time.sleep(settle_s)
        count = options.connections
        return {
            who: seen([(server.own_kib() - before[who]) / count], failed[who], count)
            for who, server in servers.items()
        }
    finally:
        for client in clients:
            client.close()


def connect(server, open_one):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    try:
        open_one(client)
    except (RuntimeError, OSError):
        client.close()
        raise
    return client


def asked(client):
    client.sendall(REQUEST)


def answered(client):
    client.sendall(REQUEST)
    head, body = read_head(client)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"answered {head[:30]!r}")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += receive(client)


def upgraded(client):
    """A WebSocket that has carried one message each way."""
    client.sendall(UPGRADE)
    head, rest = read_head(client)
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"answered {head[:30]!r}")
    client.sendall(MESSAGE)
    while len(rest) < len(ECHO):
        rest += receive(client)
    if rest != ECHO:
        raise RuntimeError(f"echoed {rest!r}")


def read_head(client):
    text = b""
    while b"\r\n\r\n" not in text:
        text += receive(client)
    head, _, rest = text.partition(b"\r\n\r\n")
    return head, rest


def receive(client):
    part = client.recv(65536)
    if not part:
        raise RuntimeError("the connection ended before its answer did")
    return part
