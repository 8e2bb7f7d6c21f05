#!/usr/bin/env python3
"""Measures what docker's clients do with Estiva beside dockerd in one run: CLI, docker-py, compose, memory.

    benchmarks/api.py [--rounds N] [--only NAME ...] [--json FILE]

What it needs, and how it is kept apart from the machine, is as of benchmarks/run.py, and docker-buildx and
docker-compose. The row of docker-py needs a Python that has it, ESTIVA_BENCH_DOCKER_PY=PYTHON, and is left
out without.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import time
from socket import AF_UNIX
from socket import socket as Socket

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import ESTIVA, IMAGE, Bench, main  # noqa: E402

CROWD = 100
IMAGES = 50
IDLE = 20
STEPS = "FROM {image}\nCOPY context/a context/b /\n" + "".join(f"RUN cat /a /b > /c{n}\n" for n in range(8))
SERVICE = f'image: "{IMAGE}", command: [/bin/sleep, "1000"], stop_grace_period: 0s'
COMPOSE = f"""
services:
  database: {{{SERVICE}}}
  cache: {{{SERVICE}}}
  web: {{{SERVICE}, depends_on: [database, cache]}}
"""
PY = """
import docker, sys, time
client = docker.DockerClient("unix://" + sys.argv[1])
client.containers.run(sys.argv[2], "/bin/true", remove=True)
times = []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter()
    client.containers.run(sys.argv[2], "/bin/true", remove=True)
    times.append((time.perf_counter() - begin) * 1000)
times.sort()
print(times[len(times) // 2])
"""


LIST = """
import docker, sys, time
client = docker.DockerClient("unix://" + sys.argv[1])
times = []
for _ in range(5):
    begin = time.perf_counter()
    client.{call}
    times.append((time.perf_counter() - begin) * 1000)
print(sorted(times)[2])
"""


class Api(Bench):
    """dockerd and `estiva api serve`, each asked by the same clients."""

    def serve(self):
        self.ours = f"{self.folder}/estiva.sock"
        self.server = self.daemon(
            "estiva-api",
            [ESTIVA, "api", "serve", "--listen", f"unix://{self.ours}"],
            lambda: (
                subprocess.run(
                    ["docker", "-H", f"unix://{self.ours}", "version"], capture_output=True
                ).returncode
                == 0
            ),
        )

    def sockets(self):
        if not hasattr(self, "ours"):
            self.serve()
        return {"estiva": self.ours, "docker": self.socket}

    def cases(self, *words):
        """{who: docker's client with these words}"""
        return {
            who: lambda socket=socket: self.plain.run("docker", "-H", f"unix://{socket}", *words)
            for who, socket in self.sockets().items()
        }

    def each(self, *words):
        for action in self.cases(*words).values():
            action()

    def run_row(self):
        self.rounds(
            "docker run --rm IMAGE true", self.cases("run", "--rm", IMAGE, "/bin/true"), [("docker", 0.5)]
        )

    def exec_row(self):
        self.each("run", "-d", "--name", "busy", "--network", "none", IMAGE, "/bin/sleep", "1000")
        self.rounds("docker exec C true", self.cases("exec", "busy", "/bin/true"), [("docker", 0.6)])
        self.each("rm", "-f", "busy")

    def ps_row(self):
        for socket in self.sockets().values():
            run = f"docker -H unix://{socket} run -d --network none --name c{{}} {IMAGE} /bin/sleep 1000"
            self.plain.run("sh", "-c", f"seq {CROWD} | xargs -P 4 -I{{}} {run} > /dev/null")
        self.rounds(f"docker ps of {CROWD} containers", self.cases("ps"), [("docker", 1.0)])
        self.clear()

    def clear(self):
        for socket in self.sockets().values():
            docker = f"docker -H unix://{socket}"
            self.plain.run("sh", "-c", f"{docker} ps -aq | xargs -r {docker} rm -f > /dev/null")

    def ready_row(self):
        """The server alone, asked until it answers."""
        path = f"{self.folder}/ready.sock"
        times, sizes = [], []
        for number in range(self.count + 1):
            begin = time.perf_counter()
            words = [ESTIVA, "api", "serve", "--listen", f"unix://{path}"]
            server = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, **self.estiva_env})
            server.stdout.readline()
            with Socket(AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
                client.recv(1)
            if number:
                times.append((time.perf_counter() - begin) * 1000)
                status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
                sizes.append(int(status.partition("\nVmRSS:")[2].split()[0]) / 1024)
            server.terminate()
            server.wait()
        name = "api serve from its start to the first answer"
        self.results.add(name, {"estiva": statistics.median(times)}, limit=300)
        self.results.add("resident memory of it then", {"estiva": max(sizes)}, unit="MB", limit=60)

    def look_row(self):
        """What is looked at, of many things."""
        python = os.environ.get("ESTIVA_BENCH_DOCKER_PY")
        loop = 'i=0; while [ $i -lt 100000 ]; do echo "line $i of the log"; i=$((i+1)); done'
        self.each("run", "--name", "long", "--network", "none", IMAGE, "/bin/sh", "-c", f"({loop})")
        for number in range(IMAGES):
            self.each("tag", IMAGE, f"bench/many{number}:1")
        for number in range(CROWD):
            self.each("create", "--network", "none", "--name", f"c{number}", IMAGE, "/bin/true")
        half = [f"c{number}" for number in range(CROWD // 2)]
        cases = {"logs of 100,000 lines": ("logs", "long"), f"inspect of {len(half)}": ("inspect", *half)}
        cases |= {f"images, {IMAGES} names": ("images",)}
        for name, words in cases.items():
            self.rounds(f"docker {name}", self.cases(*words), [("docker", 1.0)])
        if python:
            for name, call in (
                ("containers.list", "containers.list(all=True)"),
                ("images.list", "images.list()"),
            ):
                words = [python, "-c", LIST.format(call=call)]
                values = {who: float(self.said(*words, socket)) for who, socket in self.sockets().items()}
                self.keep(f"docker-py {name}", {who: [ms] for who, ms in values.items()}, [("docker", 1.0)])
        self.clear()

    def said(self, *words):
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def copy_row(self):
        """Bytes through the API."""
        big = pathlib.Path(self.folder, "big")
        big.write_bytes(os.urandom(1 << 20) * 100)
        self.each("run", "-d", "--name", "holds", "--network", "none", IMAGE, "/bin/sleep", "1000")
        count = min(self.count, 5)
        cases = self.cases("cp", str(big), "holds:/big")
        self.rounds("docker cp of 100 MB into a container", cases, [("docker", 1.0)], count=count)
        cases = self.cases("cp", "holds:/big", f"{big}.out")
        self.rounds("docker cp of 100 MB out of it", cases, [("docker", 1.0)], count=count)
        cases = self.cases("exec", "holds", "/bin/cat", "/big")
        self.rounds("docker exec C cat, 100 MB", cases, [("docker", 1.0)], count=count)
        self.each("rm", "-f", "holds")

    def build_row(self):
        folder = pathlib.Path(self.folder, "steps")
        (folder / "context").mkdir(parents=True)
        (folder / "Dockerfile").write_text(STEPS.format(image=IMAGE))
        for name in "ab":
            (folder / "context" / name).write_text(name * 10_000)
        words = ("build", "-q", "-t", "bench/steps:1")
        self.rounds(
            "docker build of ten steps, no cache",
            self.cases(*words, "--no-cache", str(folder)),
            [("docker", 0.7)],
        )
        self.rounds("the same, cached", self.cases(*words, str(folder)), [("docker", 0.6)])

    def compose_row(self):
        path = pathlib.Path(self.folder, "compose.yaml")
        path.write_text(COMPOSE)

        def turn(socket):
            compose = f"docker -H unix://{socket} compose -f {path} -p bench"
            return lambda: self.plain.run("sh", "-c", f"{compose} up -d && {compose} down -t 0")

        cases = {who: turn(socket) for who, socket in self.sockets().items()}
        self.rounds("compose up -d, then down, of three services", cases, [("docker", 0.4)])

    def python_row(self):
        python = os.environ.get("ESTIVA_BENCH_DOCKER_PY")
        if not python:
            print("docker-py: left out, ESTIVA_BENCH_DOCKER_PY is not set", file=sys.stderr)
            return
        values = {}
        for who, socket in self.sockets().items():
            words = [python, "-c", PY, socket, IMAGE, str(self.count)]
            values[who] = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        self.keep("docker-py containers.run", {who: [ms] for who, ms in values.items()}, [("docker", 0.35)])

    def memory_row(self):
        self.sockets()  # the service is there
        before = set(os.listdir("/proc"))
        for number in range(IDLE):
            self.each("run", "-d", "--network", "none", "--name", f"m{number}", IMAGE, "/bin/sleep", "1000")
        time.sleep(5)  # until monitors hibernate
        values = {}
        for who in self.sockets():
            pids = filter(str.isdigit, os.listdir("/proc"))
            total = sum(self.of(pid) for pid in pids if self.belongs(pid, who, pid not in before))
            values[who] = total / 1024
        name = f"memory of the service and {IDLE} idle containers (PSS)"
        self.results.add(name, values, [("docker", 0.25)], unit="MB")
        self.clear()

    def belongs(self, pid, who, new):
        """Whether a process is the service's, or of its containers; their own commands are nobody's."""
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        if line.startswith(b"/bin/sleep") or not line:
            return False
        theirs = any(name in line.split(b"\0")[0] for name in (b"dockerd", b"containerd", b"docker-"))
        if who == "docker":
            return theirs
        return not theirs and (new or int(pid) == self.server.pid)

    def of(self, pid):
        """PSS, in KB."""
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            return 0
        return int(text.partition("\nPss:")[2].split()[0])


ROWS = {
    "ready": Api.ready_row,
    "run": Api.run_row,
    "python": Api.python_row,
    "exec": Api.exec_row,
    "ps": Api.ps_row,
    "look": Api.look_row,
    "copy": Api.copy_row,
    "build": Api.build_row,
    "compose": Api.compose_row,
    "memory": Api.memory_row,
}


if __name__ == "__main__":
    main(Api, ROWS, __doc__, rounds=10)
