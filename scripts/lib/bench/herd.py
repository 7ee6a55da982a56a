"""Ten thousand first requests at once to one sleeper: counted at the engine, none may fail, and
none may wait long once the app listens."""

import json
import selectors
import socket
import time

from engine import Container, Engine, Image
from house import allow_many_files, wait_for, workload_at
from row import Row, seen
from wakes import put_to_sleep

REQUEST = b"GET /instance HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n"
# The app listens this long after its start, so that everybody is there before it does.
START_DELAY_MS = 4000
HERD_MAX_S = 60
HELD = "held = { requests = 20000, per_client = 20000 }\n"


def herd(house, options):
    count, engine = options.herd, Engine()
    what = f"{count:,} first requests at once to one sleeper".replace(",", " ")
    if not engine.answers():
        return [Row("herd", what, "s", {}, None, "s", 2, note="no engine answers")]
    allow_many_files()
    knobs = [f"--start-delay-ms={START_DELAY_MS}"]
    with Image(engine, house.app_binary) as image, Container(image, "herd", knobs) as container:
        server = house.dormouse("herd", container.workload("kill", HELD), engine.path)
        wait_for(lambda: workload_at(server.admin, "sleeper")["phase"] == "asleep")
        runs = [run(server, container, count) for _ in range(options.herds)]
        house.end(server)
    return rows(what, runs, count)


def rows(what, runs, count):
    failed = sum(one["failed"] for one in runs)
    asked = count * len(runs)
    starts = seen([one["starts"] for one in runs], failed, asked)
    lost = seen([one["failed"] for one in runs], failed, asked)
    last = seen([one["last_s"] for one in runs], failed, asked)
    gathered = max(one["gathered_s"] for one in runs)
    early = sum(one["early"] for one in runs)
    note = f"all had asked {gathered:.1f} s after the first; {early} were answered before that"
    return [
        Row("herd", f"{what}: starts at the engine", "", {"dormouse": starts}, starts["high"], "", 1,
            note=note),
        Row("herd", f"{what}: failed", "", {"dormouse": lost}, failed, "", 0),
        Row("herd", f"{what}: last answered after the app listens", "s", {"dormouse": last},
            last["high"], "s", 2, against="Knative queues 10 000, then refuses"),
    ]


def run(server, container, count):
    since = time.time()
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
    began = time.time_ns()
    for client in clients:
        client.sendall(REQUEST)
    gathered = time.time_ns()
    answers = read_all(clients)
    good = [one for one in answers if one[1]]
    listening = max((one[1] for one in good), default=began)
    instances = {one[2] for one in good}
    starts = container.engine.events(container.name, "start", since, time.time() + 0.001)
    if len(instances) > 1:
        print(f"  {len(instances)} starts of the app have answered")
    put_to_sleep(server.admin)
    return {
        "starts": starts,
        "failed": count - len(good),
        "last_s": max((one[0] for one in answers), default=0) / 1e9 - listening / 1e9,
        "gathered_s": (gathered - began) / 1e9,
        "early": sum(one[0] < gathered for one in answers),
    }


def read_all(clients):
    """When each answer was there, when its app had begun to listen, and which start it was."""
    texts, answers = {client: b"" for client in clients}, []
    deadline = time.monotonic() + HERD_MAX_S
    with selectors.DefaultSelector() as ready:
        for client in clients:
            ready.register(client, selectors.EVENT_READ)
        while ready.get_map() and time.monotonic() < deadline:
            for key, _ in ready.select(1):
                client = key.fileobj
                try:
                    part = client.recv(65536)
                except OSError:
                    part = b""
                texts[client] += part
                if not part:
                    answers.append(judged(texts[client]))
                    ready.unregister(client)
    for client in clients:
        client.close()
    return answers


def judged(text):
    head, _, body = text.partition(b"\r\n\r\n")
    now = time.time_ns()
    if not head.startswith(b"HTTP/1.1 200"):
        return now, None, None
    told = json.loads(body)
    return now, told["listening_unix_ns"], told["id"]
