#!/usr/bin/env python3
"""Measures the life of containers beside its peers in one run: networks, names, logs, cp, ps, health checks.

    benchmarks/life.py [--rounds N] [--only NAME ...] [--json FILE]

What it needs, and how it is kept apart from the machine, is as of benchmarks/run.py.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import ESTIVA, IMAGE, Bench, main  # noqa: E402

CROWD = 100
MB = 1 << 20

# Run in a container's network namespace: one query after the other, then many at once.
QUERIES = """
import select, socket, sys, time
name = b"".join(bytes([len(p)]) + p for p in sys.argv[1].encode().split(b".")) + b"\\0"
query = b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.11", 53)); s.settimeout(5)
def ask(number):
    s.send(number.to_bytes(2) + query)
def answered():
    data = s.recv(4096)
    assert data[3] & 15 == 0 and data[7] == 1, data
for number in range(50):
    ask(number); answered()
count = 1000
begin = time.perf_counter()
for number in range(count):
    ask(number); answered()
print((time.perf_counter() - begin) / count * 1000)
count, ahead = 4000, 20
begin = time.perf_counter()
for number in range(count + ahead):
    if number < count: ask(number)
    if number >= ahead: answered()
print(count / (time.perf_counter() - begin))
"""

SINK = """
import socket
server = socket.create_server(("0.0.0.0", 5000)); print("ready", flush=True)
while True:
    peer, _ = server.accept()
    with peer:
        while peer.recv(1 << 20): pass
"""

SOURCE = """
import socket, sys, time
data = bytes(1 << 20)
best = 0
for _ in range(3):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as peer:
        begin = time.perf_counter()
        for _ in range(2000): peer.sendall(data)
        peer.shutdown(socket.SHUT_WR); peer.recv(1)
        best = max(best, 2000 / (time.perf_counter() - begin))
print(best)
"""


def wall(action):
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


class Life(Bench):
    def peers(self):
        """who -> (worker, command)"""
        return {
            "estiva": (self.estiva, [ESTIVA]),
            "podman": (self.v1, self.podman),
            "docker": (self.plain, self.docker),
        }

    def out(self, who, *words):
        """What a command prints; in this process' namespaces, where podman can't run."""
        _, command = self.peers()[who]
        return subprocess.run(
            [*command, *words],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **self.estiva_env},
        ).stdout.strip()

    def pid(self, who, name):
        return self.out(who, "inspect", "-f", "{{.State.Pid}}", name)

    def network_row(self):
        for number, (worker, command) in enumerate(self.peers().values()):
            worker.run(*command, "network", "create", "--subnet", f"10.91.{number}.0/24", "bench")
        words = ["run", "--rm", "--network", "bench", IMAGE, "/bin/true"]
        cases = {
            who: lambda worker=worker, command=command: worker.run(*command, *words)
            for who, (worker, command) in self.peers().items()
        }
        self.rounds("run --rm on a network of one's own", cases, [("podman", 0.2), ("docker", 0.13)])
        for worker, command in self.peers().values():
            worker.run(*command, "network", "rm", "bench")

    def crowd_row(self):
        """Many started by 20 processes at once, until all run; then ps of twice as many."""

        def start(who):
            worker, command = self.peers()[who]
            run = " ".join([*command, "run", "-d", "--network", self.bridge(who), "--name", "c{}", IMAGE])
            line = f"seq {CROWD} | xargs -P 20 -I{{}} {run} /bin/sleep 1000 > /dev/null"
            return lambda: worker.run("sh", "-c", line)

        def clear(who):
            worker, command = self.peers()[who]
            left = " ".join([*command, "ps", "-aq"])
            worker.run("sh", "-c", f"{left} | xargs -r {' '.join([*command, 'rm', '-f'])} > /dev/null")

        cases = {who: start(who) for who in self.peers()}
        goals = [("docker", 0.15), ("podman", 0.17)]
        self.rounds(f"{CROWD} containers started by 20 processes at once", cases, goals, clear, 2)
        for worker, command in self.peers().values():
            create = " ".join([*command, "create", "--name", "d{}", IMAGE, "/bin/true"])
            worker.run("sh", "-c", f"seq {CROWD} | xargs -P 4 -I{{}} {create} > /dev/null")
        cases = {
            who: lambda worker=worker, command=command: worker.run(*command, "ps", "-a")
            for who, (worker, command) in self.peers().items()
        }
        self.rounds(f"ps -a of {2 * CROWD} containers, half of them running", cases)
        self.results.rows[-1]["limit"] = 30
        for who in self.peers():
            clear(who)

    def bridge(self, who):
        return "podman" if who == "podman" else "bridge"

    def names_row(self):
        found = {}
        for number, who in enumerate(("estiva", "docker")):
            self.out(who, "network", "create", "--subnet", f"10.92.{number}.0/24", "names")
            for name in ("web", "asks", *(f"idle{number}" for number in range(8))):
                self.out(who, "run", "-d", "--network", "names", "--name", name, IMAGE, "/bin/sleep", "1000")
            words = ["nsenter", "-n", "-t", self.pid(who, "asks"), sys.executable, "-c", QUERIES, "web"]
            runs = [subprocess.check_output(words, text=True).split() for _ in range(3)]
            found[who] = [statistics.median(float(run[column]) for run in runs) for column in (0, 1)]
            if who == "estiva":
                time.sleep(3)  # until it hibernates
                name = "memory of each of ten idle containers on a network of one's own (PSS)"
                self.results.add(name, {"estiva": self.pss() / 10}, unit="MB", limit=2)
            self.out(who, "rm", "-f", *self.out(who, "ps", "-aq").split())
            self.out(who, "network", "rm", "names")
        lookups = {who: numbers[0] for who, numbers in found.items()}
        self.results.add("a name looked up by the embedded DNS", lookups, [("docker", 1)])
        rates = {who: numbers[1] for who, numbers in found.items()}
        self.results.add("the same, 20 at once", rates, [("docker", 1)], unit="per second", more=True)

    def pss(self):
        """With the name server, which all containers share."""
        total = super().pss()
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
                if line.startswith(b"estiva: names"):
                    text = (process / "smaps_rollup").read_text()
                    total += int(text.partition("\nPss:")[2].split()[0]) / 1024
            except OSError:
                continue
        return total

    def logs_row(self):
        for length, most in ((100, 512), (10_000, 1024)):
            path = pathlib.Path(self.folder, "lines")
            path.write_bytes((b"x" * (length - 1) + b"\n") * (most * MB // length))
            size = path.stat().st_size / MB
            words = ["-v", f"{path}:/lines:ro", "--network", "none", IMAGE, "/bin/cat", "/lines"]
            found = {}
            for who in ("estiva", "docker"):
                limits = ["--log-opt", "max-size=2g"]
                self.out(who, "run", "-d", "--name", "log", *limits, *words)
                begin = time.perf_counter()
                self.out(who, "wait", "log")
                found[who] = size / (time.perf_counter() - begin)
                self.out(who, "rm", "log")
            path.unlink()
            goals = [("docker", 2.0)]
            self.results.add(f"log of lines of {length} bytes", found, goals, unit="MB/s", more=True)

    def port_row(self):
        self.out("estiva", "run", "-d", "--name", "sink", "-p", "5001:5000", IMAGE, "/bin/sleep", "1000")
        words = ["nsenter", "-n", "-t", self.pid("estiva", "sink"), sys.executable, "-c", SINK]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sink:
            sink.stdout.readline()
            address = self.out("estiva", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "sink")
            gateway = self.out("estiva", "inspect", "-f", "{{.NetworkSettings.Gateway}}", "sink")

            def rate(*place):
                return float(subprocess.check_output([sys.executable, "-c", SOURCE, *place], text=True))

            values = {"estiva": rate(gateway, "5001"), "plain veth": rate(address, "5000")}
            values["by loopback"] = rate("127.0.0.1", "5001")
            sink.terminate()
        goals = [("plain veth", 0.9)]
        self.results.add("throughput of a published port", values, goals, unit="MB/s", more=True)
        self.out("estiva", "rm", "-f", "sink")

    def copy_rows(self):
        big = pathlib.Path(self.folder, "big-file")
        with open(big, "wb") as file:
            for _ in range(500):
                file.write(os.urandom(MB))
        peers = {who: entry for who, entry in self.peers().items() if who != "podman"}
        for worker, command in peers.values():
            worker.run(
                *command, "run", "-d", "--name", "copy", "--network", "none", IMAGE, "/bin/sleep", "1000"
            )
        for name, words in (
            ("cp of 500 MB into a container", [str(big), "copy:/tmp/big"]),
            ("cp of 500 MB out of a container", ["copy:/tmp/big", f"{self.folder}/back"]),
        ):
            cases = {
                who: lambda worker=worker, command=command, words=words: worker.run(*command, "cp", *words)
                for who, (worker, command) in peers.items()
            }
            self.rounds(name, cases, [("docker", 0.5)], count=3)
        for worker, command in peers.values():
            worker.run(*command, "rm", "-f", "copy")

    def health_row(self):
        """The processor time of what stays for a container, over 20 checks."""
        check = ["--health-cmd", "true", "--health-interval", "1s"]
        self.out(
            "estiva", "run", "-d", "--name", "sick", "--network", "none", *check, IMAGE, "/bin/sleep", "100"
        )
        states = pathlib.Path(self.estiva_env["ESTIVA_RUN_ROOT"], "containers").glob("*/state.json")
        monitor = json.loads(next(states).read_text())["monitor"]

        def used():
            fields = pathlib.Path(f"/proc/{monitor}/stat").read_text().rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") * 1000  # with its children

        time.sleep(2)
        before = used()
        time.sleep(20)
        self.results.add("processor time of one health check", {"estiva": (used() - before) / 20}, limit=60)
        self.out("estiva", "rm", "-f", "sick")


ROWS = {
    "network": Life.network_row,
    "crowd": Life.crowd_row,
    "names": Life.names_row,
    "logs": Life.logs_row,
    "port": Life.port_row,
    "copy": Life.copy_rows,
    "health": Life.health_row,
}


if __name__ == "__main__":
    main(Life, ROWS, __doc__, rounds=15)
