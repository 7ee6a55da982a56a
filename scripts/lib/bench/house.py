"""The processes that are measured: an upstream, nginx as a proxy, and dormouse."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

SMALL_BYTES = 1 << 10
LARGE_BYTES = 1 << 20
START_MAX_S = 20

UPSTREAM = """
worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log; daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/www; }}
}}
"""

# As many workers as dormouse has, the same forwarded headers, buffers of 64 KiB.
PROXY = """
worker_processes auto; pid {folder}/{name}.pid; error_log {folder}/{name}.log; daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
      proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;
    }}
  }}
}}
"""

DORMOUSE = """
[gateway]
http = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
state = "{folder}/{name}.state"
[environment.local]
docker = "unix://{socket}"
labels = false
"""


class Server:
    """A process with a port, and how much CPU time and memory it takes."""

    def __init__(self, command, port, log):
        self.port = port
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def wait_until_listening(self):
        deadline = time.monotonic() + START_MAX_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args[0]} has ended: see its log")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self.process.args[0]} does not listen on {self.port}")

    def cpu_us(self, with_children):
        """User and system time so far, in microseconds, to the nanosecond of the scheduler."""
        pids = [self.process.pid]
        if with_children:
            pids += children(self.process.pid)
        return sum(schedstat_ns(pid) for pid in pids) / 1e3

    def rss_kib(self, with_children):
        pids = [self.process.pid]
        if with_children:
            pids += children(self.process.pid)
        return sum(rss_kib(pid) for pid in pids)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class House:
    """A folder with everything that runs in one bench; leaving it ends and removes all."""

    def __init__(self, binary):
        self.binary = binary
        self.servers = []

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="dormouse-bench-"))
        self.folder.chmod(0o755)
        www = self.folder / "www"
        www.mkdir()
        (www / "small").write_bytes(b"s" * SMALL_BYTES)
        (www / "large").write_bytes(b"l" * LARGE_BYTES)
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def nginx(self, name, template, **values):
        port = free_port()
        path = self.folder / f"{name}.conf"
        path.write_text(template.format(folder=self.folder, name=name, port=port, **values))
        return self._start(self._nginx_command(name, path), port, name)

    def upstream(self):
        return self.nginx("upstream", UPSTREAM)

    def nginx_proxy(self, upstream):
        return self.nginx("proxy", PROXY, upstream=upstream.port)

    def dormouse(self, name, workloads, socket_path="/nonexistent.sock"):
        port, admin = free_port(), free_port()
        head = DORMOUSE.format(
            folder=self.folder, name=name, port=port, admin=admin, socket=socket_path
        )
        path = self.folder / f"{name}.toml"
        path.write_text(head + workloads)
        server = self._start([str(self.binary), "serve", "-c", str(path)], port, name)
        server.admin = admin
        return server

    def end(self, server):
        server.end()
        self.servers.remove(server)

    def upstream_workload(self, name="up"):
        """A workload whose process is an upstream of its own."""
        port = free_port()
        path = self.folder / f"{name}.conf"
        path.write_text(UPSTREAM.format(folder=self.folder, name=name, port=port))
        command = json.dumps(self._nginx_command(name, path))
        return (
            f'[workload.{name}]\ncommand = {command}\nport = {port}\n'
            f'hosts = ["*"]\nidle_timeout = "never"\n'
        ), port

    def _nginx_command(self, name, path):
        return [shutil.which("nginx"), "-e", f"{self.folder}/{name}.log", "-c", str(path)]

    def _start(self, command, port, name):
        with open(self.folder / f"{name}.out", "wb") as log:
            server = Server(command, port, log)
        self.servers.append(server)
        server.wait_until_listening()
        return server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path="/small", host="bench.example", timeout=60):
    """Fetches once over a connection of its own; seconds to the first byte and the status."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        took = time.perf_counter() - began
        answer.read()
        return took, answer.status
    finally:
        connection.close()


def post(url):
    request = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


def phase_of(admin, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/workloads/{name}") as answer:
        return json.load(answer)["phase"]


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def schedstat_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
