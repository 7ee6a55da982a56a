"""Wakes: dormouse's own share of them, beside what the engine needs without it."""

import http.client
import json
import os
import socket
import subprocess
import time
from statistics import quantiles
from urllib.parse import quote

from house import phase_of, post

SOCKET = "/var/run/docker.sock"
PORT = 8080
DEADLINE_S = 30


class Engine:
    """The Docker Engine, as far as a bench needs it."""

    def answers(self):
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("engine", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(SOCKET)
        headers = {"Content-Type": "application/json"}
        try:
            text = json.dumps(body) if body else None
            connection.request(method, path, body=text, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def act(self, container, act):
        status, text = self.call("POST", f"/containers/{container}/{act}")
        if status not in (200, 204, 304):
            raise RuntimeError(f"{act}: {status} {text[:200]}")

    def address(self, container):
        text = self.call("GET", f"/containers/{container}/json")[1]
        return json.loads(text)["NetworkSettings"]["IPAddress"]

    def state(self, container):
        text = self.call("GET", f"/containers/{container}/json")[1]
        return json.loads(text)["State"]["Status"]


class Container:
    """A web server of a static busybox, in an image of its own; leaving it removes both."""

    def __init__(self, engine, role):
        self.engine = engine
        self.name = f"dormouse-bench-{role}-{os.getpid()}"
        self.image = f"{self.name}:1"

    def __enter__(self):
        archive = subprocess.run(
            ["tar", "-c", "-C", "/", "bin/busybox"], check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["docker", "import", "-", self.image], input=archive, check=True, capture_output=True
        )
        command = ["/bin/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/bin"]
        body = {"Image": self.image, "Cmd": command, "ExposedPorts": {f"{PORT}/tcp": {}}}
        status, text = self.engine.call("POST", f"/containers/create?name={quote(self.name)}", body)
        if status != 201:
            raise RuntimeError(f"create: {status} {text[:200]}")
        return self

    def __exit__(self, *_):
        self.engine.call("DELETE", f"/containers/{self.name}?force=true")
        self.engine.call("DELETE", f"/images/{self.image}?force=true")


def compare(house, engine, rest, rounds):
    """Milliseconds of wakes through dormouse and by the engine alone, in turns, each with a
    container of its own; `rest` is how both are put to sleep: kill or pause."""
    wake = {"kill": "start", "pause": "unpause"}[rest]
    through, alone, failures = [], [], 0
    with Container(engine, "own") as own, Container(engine, "alone") as bare:
        engine.act(bare.name, "start")
        server = house.dormouse(f"wake-{rest}", workload(own.name, rest), SOCKET)
        address = ("127.0.0.1", server.port)
        failures += not first_answer(address)
        for _ in range(rounds):
            put_to_sleep(server.admin)
            began = time.perf_counter()
            failures += not first_answer(address)
            through.append((time.perf_counter() - began) * 1e3)
            rested(engine, bare.name, rest)
            alone.append(start_to_answer(engine, bare.name, wake) * 1e3)
        house.end(server)
    engine_ms, dormouse_ms = percentiles(alone), percentiles(through)
    added = {at: dormouse_ms[at] - engine_ms[at] for at in engine_ms}
    return {
        "rounds": rounds,
        "failures": failures,
        "engine_ms": engine_ms,
        "dormouse_ms": dormouse_ms,
        "added_ms": added,
    }


def workload(container, rest):
    return (
        f'[workload.sleeper]\ntarget = "local/{container}"\nport = {PORT}\n'
        f'hosts = ["*"]\nidle_timeout = "1h"\nrest = "{rest}"\nloading = {{ page = false }}\n'
    )


def put_to_sleep(admin):
    url = f"http://127.0.0.1:{admin}/api/v1/workloads/sleeper"
    post(f"{url}/sleep?force=true")
    wait_for(lambda: phase_of(admin, "sleeper") == "asleep")


def rested(engine, name, act):
    engine.act(name, act)
    state = {"kill": "exited", "pause": "paused"}[act]
    wait_for(lambda: engine.state(name) == state)


def start_to_answer(engine, name, act):
    """From the call to the engine until the container answers, asked every half millisecond."""
    began = time.perf_counter()
    engine.act(name, act)
    address = (engine.address(name), PORT)
    while time.perf_counter() - began < DEADLINE_S:
        try:
            if first_answer(address):
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.0005)
    raise RuntimeError("the container does not answer")


def first_answer(address):
    """Whether the web server answers: with a 404, because the page does not exist."""
    with socket.create_connection(address, timeout=DEADLINE_S) as client:
        client.sendall(b"GET /none HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
        return client.recv(64).startswith((b"HTTP/1.0 404", b"HTTP/1.1 404"))


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("a condition did not come true in time")
        time.sleep(0.01)


def percentiles(values):
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}
