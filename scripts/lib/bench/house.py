"""The processes that are measured: they start in one folder, are accounted for, and end with it."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import peers

SMALL_BYTES = 1 << 10
LARGE_BYTES = 1 << 20
BULK_BYTES = 64 << 20
START_MAX_S = 60
END_MAX_S = 30
FILES_MAX = 100_000


class Cpu:
    """What one process has used so far, by the scheduler's account of each thread, and by the
    process's own, which is coarser and remembers the threads that have ended."""

    def __init__(self, pid):
        self.threads = {}
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                text = Path(f"/proc/{pid}/task/{task}/schedstat").read_text()
                self.threads[task] = int(text.split()[0]) / 1e3
            except (FileNotFoundError, ProcessLookupError):
                continue
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(after_name[11]), int(after_name[12])
        self.whole_us = (user + system) * 1e6 / os.sysconf("SC_CLK_TCK")

    def us_since(self, before):
        if before.threads.keys() - self.threads.keys():
            return self.whole_us - before.whole_us
        return sum(self.threads.values()) - sum(before.threads.values())


def cpu_us_between(before, after):
    """Microseconds that the processes of a reading have used until the next one."""
    return sum(now.us_since(then) for then, now in zip(before, after, strict=True))


class Server:
    """A process with a port, and how much CPU time and memory it takes."""

    def __init__(self, command, port, log, env=None):
        self.port = port
        self.process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=env,
        )
        # The workers of nginx are its children; a child of dormouse is a workload, not its work.
        self.with_children = False

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

    def cpu(self):
        """A reading of user and system time, for `cpu_us_between`."""
        return [Cpu(pid) for pid in self._pids()]

    def rss_kib(self):
        return sum(rss_kib(pid) for pid in self._pids())

    def own_kib(self):
        """Without the pages of files, which come and go with what is executed."""
        return sum(rss_kib(pid, "RssAnon:") + rss_kib(pid, "RssShmem:") for pid in self._pids())

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(END_MAX_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _pids(self):
        pid = self.process.pid
        return [pid] + (children(pid) if self.with_children else [])


class House:
    """A folder with everything that runs in one bench; leaving it ends and removes all."""

    def __init__(self, binary):
        self.binary = binary
        self.app_binary = binary.with_name("testapp")
        self.servers = []
        # Those who visit, and end at the latest with the house.
        self.beside = []
        # Who could not be started, and why: their rows say so.
        self.missing = {}

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="dormouse-bench-"))
        self.folder.chmod(0o755)
        www = self.folder / "www"
        www.mkdir()
        (www / "small").write_bytes(b"s" * SMALL_BYTES)
        (www / "large").write_bytes(b"l" * LARGE_BYTES)
        (www / "bulk").write_bytes(b"b" * BULK_BYTES)
        return self

    def __exit__(self, *_):
        self.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def upstream(self):
        """A web server for the peers, with files of 1 KiB and 1 MiB."""
        port = free_port()
        return self._nginx("upstream", peers.UPSTREAM.format(**self._values("upstream", port)), port)

    def app(self):
        """The test application, which speaks WebSocket."""
        port = free_port()
        env = {"PORT": str(port)}
        return self._start("app", [str(self.app_binary)], port, env=env)

    def nginx(self, upstream, http2=False):
        port, name = free_port(), "nginx"
        values = self._values(name, port, upstream=upstream, http2=" http2" if http2 else "")
        return self._nginx(name, peers.NGINX.format(**values), port)

    def haproxy(self, upstream, http2=False):
        port, name = free_port(), "haproxy"
        values = self._values(name, port, upstream=upstream, http2=" proto h2" if http2 else "")
        path = self._file("haproxy.cfg", peers.HAPROXY.format(**values))
        return self._start(name, [shutil.which("haproxy"), "-db", "-f", path], port)

    def haproxy_tcp(self, upstream):
        """Raw TCP, by splice."""
        port, name = free_port(), "haproxy-tcp"
        path = self._file("tcp.cfg", peers.HAPROXY_TCP.format(**self._values(name, port, upstream=upstream)))
        return self._start(name, [shutil.which("haproxy"), "-db", "-f", path], port)

    def nginx_stream(self, upstream):
        port, name = free_port(), "nginx-stream"
        module = self.nginx_stream_module()
        values = self._values(name, port, upstream=upstream, module=module)
        return self._nginx(name, peers.NGINX_STREAM.format(**values), port)

    def nginx_stream_module(self):
        """Debian has it in a package of its own."""
        return Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def caddy(self, upstream, http2=False):
        port, name = free_port(), "caddy"
        values = self._values(name, port, upstream=upstream, protocols="h1 h2c" if http2 else "h1")
        path = self._file("Caddyfile", peers.CADDY.format(**values))
        command = [shutil.which("caddy"), "run", "--config", path, "--adapter", "caddyfile"]
        env = os.environ | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        return self._start(name, command, port, env=env)

    def dormouse(self, name, workloads, engine=None):
        """`dormouse serve` with these workloads, and with an environment where there is an engine."""
        port, admin = free_port(), free_port()
        head = peers.DORMOUSE.format(**self._values(name, port, admin=admin))
        head += peers.ENVIRONMENT.format(socket=engine) if engine else ""
        path = self._file(f"{name}.toml", head + workloads)
        env = os.environ | {"RUST_LOG": "warn"}
        server = self._start(name, [str(self.binary), "serve", "-c", path], port, env=env)
        server.admin = admin
        return server

    def files_workload(self):
        """A workload whose process is a web server of its own, with the same files."""
        return workload(*self.files_port())

    def files_port(self):
        """The command of that web server, and its port."""
        port, name = free_port(), "files"
        path = self._file("files.conf", peers.UPSTREAM.format(**self._values(name, port)))
        return self._nginx_command(name, path), port

    def dormouse_tcp(self, name, command_and_port):
        """`dormouse serve` whose visitors come to the TCP listener of one workload."""
        listen = free_port()
        tcp = f'tcp = [{{ listen = "127.0.0.1:{listen}", port = {command_and_port[1]} }}]\n'
        server = self.dormouse(name, workload(*command_and_port) + tcp)
        server.port = listen
        # Workloads' own addresses come after the gateway's.
        server.wait_until_listening()
        return server

    def app_workload(self):
        """A workload that is the test application."""
        port = free_port()
        return workload([str(self.app_binary), f"--port={port}"], port)

    def start_each(self, starts):
        """Starts everybody; who does not start is missing, and stops nobody else."""
        servers = {}
        for who, start in starts.items():
            try:
                servers[who] = start()
            except (RuntimeError, OSError) as error:
                self.missing[who] = str(error).strip().splitlines()[-1]
        return servers

    def run(self, name, command, port, **more):
        """Any other process that listens, for as long as the house stands."""
        return self._start(name, command, port, **more)

    def end(self, *servers):
        for server in servers:
            server.end()
            self.servers.remove(server)

    def end_all(self):
        for visitors in self.beside:
            visitors.end()
        self.beside.clear()
        for server in reversed(self.servers):
            server.end()
        self.servers.clear()

    def _nginx(self, name, text, port):
        server = self._start(name, self._nginx_command(name, self._file(f"{name}.conf", text)), port)
        server.with_children = True
        return server

    def _nginx_command(self, name, path):
        return [shutil.which("nginx"), "-e", f"{self.folder}/{name}.log", "-c", path]

    def _values(self, name, port, **more):
        return {"folder": self.folder, "name": name, "port": port} | more

    def _file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _start(self, name, command, port, env=None):
        with open(self.folder / f"{name}.out", "wb") as log:
            server = Server(command, port, log, env)
        self.servers.append(server)
        try:
            server.wait_until_listening()
        except RuntimeError as error:
            text = (self.folder / f"{name}.out").read_text(errors="replace")
            raise RuntimeError(f"{error}: {text[-500:]}") from None
        return server


def workload(command, port):
    return (
        f'[workload.up]\ncommand = {json.dumps(command)}\nport = {port}\n'
        f'hosts = ["*"]\nidle_timeout = "never"\n'
    )


def allow_many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        most = max(hard, FILES_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(soft, hard)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path="/small", host="bench.example", timeout=120):
    """The status of one answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def post(url):
    request = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status


def workload_at(admin, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/workloads/{name}") as answer:
        return json.load(answer)


def wait_for(condition, within_s=60):
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("a condition did not come true in time")
        time.sleep(0.005)


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def rss_kib(pid, which="VmRSS:"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1])
    return 0
