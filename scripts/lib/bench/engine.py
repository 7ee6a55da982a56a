"""The Docker Engine, as far as a bench needs it, and containers of the test application in it."""

import http.client
import io
import json
import os
import re
import socket
import subprocess
import tarfile
from urllib.parse import quote

from house import wait_for

SOCKET = "/var/run/docker.sock"
PORT = 8080
STATES = {"kill": "exited", "pause": "paused", "stop": "exited"}


class Engine:
    """The engine on a unix socket; a connection for each call."""

    def __init__(self, path=SOCKET):
        self.path = path

    def answers(self):
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPConnection("engine", timeout=120)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def act(self, container, act):
        status, text = self.call("POST", f"/containers/{container}/{act}")
        if status not in (200, 204, 304):
            raise RuntimeError(f"{act}: {status} {text[:200]}")

    def inspect(self, container):
        return json.loads(self.call("GET", f"/containers/{container}/json")[1])

    def rest(self, container, act):
        self.act(container, act)
        wait_for(lambda: self.inspect(container)["State"]["Status"] == STATES[act])

    def events(self, container, action, since_s, until_s):
        """How often the engine itself says that this happened."""
        filters = {"container": [container], "event": [action], "type": ["container"]}
        path = f"/events?since={since_s:.9f}&until={until_s:.9f}&filters="
        text = self.call("GET", path + quote(json.dumps(filters)))[1]
        return text.count(b"\n")


class Image:
    """The test application with the libraries it needs; leaving it removes the image."""

    def __init__(self, engine, binary):
        self.engine, self.binary = engine, str(binary)
        self.name = f"dormouse-bench-{os.getpid()}:1"

    def __enter__(self):
        repository, tag = self.name.split(":")
        path = f"/images/create?fromSrc=-&repo={repository}&tag={tag}"
        status, text = self.engine.call("POST", path, self._archive(), "application/x-tar")
        if status != 200:
            raise RuntimeError(f"import: {status} {text[:200]}")
        return self

    def __exit__(self, *_):
        self.engine.call("DELETE", f"/images/{self.name}?force=true")

    def _archive(self):
        listed = subprocess.run(["ldd", self.binary], capture_output=True, text=True).stdout
        libraries = re.findall(r"(/\S+) \(0x", listed)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, inside in [(self.binary, "app")] + [(one, one) for one in libraries]:
                with open(path, "rb") as file:
                    entry = tarfile.TarInfo(inside.lstrip("/"))
                    entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o755
                    archive.addfile(entry, file)
        return buffer.getvalue()


class Container:
    """One container of the test application; leaving it removes it."""

    def __init__(self, image, role, knobs=()):
        self.engine, self.image, self.knobs = image.engine, image, list(knobs)
        self.name = f"dormouse-bench-{role}-{os.getpid()}"

    def __enter__(self):
        body = {
            "Image": self.image.name,
            "Cmd": ["/app", *self.knobs],
            "ExposedPorts": {f"{PORT}/tcp": {}},
        }
        path = f"/containers/create?name={quote(self.name)}"
        status, text = self.engine.call("POST", path, json.dumps(body))
        if status != 201:
            raise RuntimeError(f"create: {status} {text[:200]}")
        return self

    def __exit__(self, *_):
        self.engine.call("DELETE", f"/containers/{self.name}?force=true")

    def address(self):
        return (self.engine.inspect(self.name)["NetworkSettings"]["IPAddress"], PORT)

    def workload(self, rest, more=""):
        return (
            f'[workload.sleeper]\ntarget = "local/{self.name}"\nport = {PORT}\n'
            f'hosts = ["*"]\nidle_timeout = "1h"\nrest = "{rest}"\n'
            f"loading = {{ page = false }}\n{more}"
        )
