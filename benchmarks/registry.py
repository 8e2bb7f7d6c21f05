#!/usr/bin/env python3
"""Throughput of the registry server beside Debian's docker-registry: concurrent pulls and pushes of blobs.

    .venv/bin/python benchmarks/registry.py [--clients 8] [--size 64] [--rounds 5] [--memory] [--json FILE]

Both serve from one disk on loopback, in turn, round after round; the client is the same for both: one thread
and one connection for each transfer, a bare socket, recv_into for pulls and sendfile for pushes, and the
requests that docker and skopeo make (POST, PATCH, PUT with the digest). Every pushed blob is new. Prints the
medians of MB/s, and what each server took of the processor. With --memory also the peak of resident memory
of our server in 50 concurrent pulls and pushes of blobs of 500 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from results import Results  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "src"


class Connection:
    """HTTP/1.1 on a bare socket, as little of it as is needed."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def head(self, method: str, path: str, *headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    def answer(self) -> tuple[int, dict[str, str]]:
        data = self.rest
        while b"\r\n\r\n" not in data:
            got = self.socket.recv(65536)
            if not got:
                raise ConnectionError("the server hung up")
            data += got
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers

    def drop(self, length: int, buffer: bytearray) -> None:
        length -= len(self.rest)
        self.rest = b""
        while length > 0:
            got = self.socket.recv_into(buffer, min(length, len(buffer)))
            if not got:
                raise ConnectionError("the server hung up")
            length -= got

    def expect(self, status: int) -> dict[str, str]:
        got, headers = self.answer()
        if got != status:
            raise RuntimeError(f"HTTP {got} instead of {status}")
        self.drop(int(headers.get("content-length", 0)), bytearray(65536))
        return headers

    def close(self) -> None:
        self.socket.close()


def pull(port: int, digest: str) -> None:
    connection, buffer = Connection(port), bytearray(1 << 20)
    connection.head("GET", f"/v2/bench/blobs/{digest}")
    status, headers = connection.answer()
    assert status == 200, status
    connection.drop(int(headers["content-length"]), buffer)
    connection.close()


def push(port: int, path: str, digest: str) -> None:
    connection = Connection(port)
    connection.head("POST", "/v2/bench/blobs/uploads/", "Content-Length: 0")
    place = _path(connection.expect(202)["location"])
    size = os.path.getsize(path)
    connection.head("PATCH", place, f"Content-Length: {size}", "Content-Type: application/octet-stream")
    with open(path, "rb") as file:
        connection.socket.sendfile(file)
    place = _path(connection.expect(202)["location"])
    joint = "&" if "?" in place else "?"
    connection.head("PUT", f"{place}{joint}digest={digest}", "Content-Length: 0")
    connection.expect(201)
    connection.close()


def _path(location: str) -> str:
    return "/" + location.split("/", 3)[3] if "://" in location else location


def together(jobs: list) -> float:
    """Run all at once; the seconds until the last has ended."""
    errors: list[BaseException] = []
    gate = threading.Barrier(len(jobs) + 1)

    def run(job) -> None:
        gate.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.monotonic()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.monotonic() - start


def make(directory: str, size: int, seed: str) -> tuple[str, str]:
    """A file of `size` bytes that no other is like, and its digest."""
    path, block = f"{directory}/{seed}", os.urandom(1 << 20)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(size >> 20):
            part = number.to_bytes(8, "big") + block[8:]
            digest.update(part)
            file.write(part)
    return path, f"sha256:{digest.hexdigest()}"


class Server:
    def __init__(self, name: str, directory: str) -> None:
        self.name, self.root = name, f"{directory}/{name}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        listen = f"127.0.0.1:{self.port}"
        if name == "estiva":
            command = [
                sys.executable,
                "-m",
                "estiva",
                "registry",
                "serve",
                "--listen",
                listen,
                "--root",
                self.root,
            ]
        else:
            config = f"{directory}/docker-registry.yml"
            pathlib.Path(config).write_text(
                f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                f"storage: {{filesystem: {{rootdirectory: {self.root}}}}}\nhttp: {{addr: '{listen}'}}\n"
            )
            command = ["docker-registry", "serve", config]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OTEL_TRACES_EXPORTER": "none"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                Connection(self.port).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def cpu(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> int:
        """KB of resident memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def throughput(told: Results, directory: str, clients: int, size: int) -> None:
    rounds = told.rounds
    servers = [Server("estiva", directory), Server("docker-registry", directory)]
    speed: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    amount = clients * size >> 20
    try:
        for number in range(rounds):
            blobs = [make(directory, size, f"{number}-{client}") for client in range(clients)]
            for server in servers if number % 2 else servers[::-1]:
                for what in ("push", "pull"):
                    before = server.cpu()
                    if what == "push":
                        jobs = [lambda b=blob, s=server: push(s.port, *b) for blob in blobs]
                    else:
                        jobs = [lambda b=blob, s=server: pull(s.port, b[1]) for blob in blobs]
                    seconds = together(jobs)
                    speed.setdefault((what, server.name), []).append(amount / seconds)
                    cpu.setdefault((what, server.name), []).append((server.cpu() - before) / amount * 1000)
            for path, _ in blobs:
                os.unlink(path)
    finally:
        for server in servers:
            server.stop()
    print(f"{clients} at once, {size >> 20} MB each, {rounds} rounds; medians")
    print(
        "| what | estiva MB/s | docker-registry MB/s | ratio | estiva cpu ms/MB | docker-registry cpu ms/MB |"
    )
    print("|---|---|---|---|---|---|")
    for what in ("pull", "push"):
        ours, theirs = (statistics.median(speed[what, name]) for name in ("estiva", "docker-registry"))
        values = {"estiva": ours, "docker-registry": theirs}
        name = f"{what} of blobs of {size >> 20} MB, {clients} at once"
        told.add(name, values, [("docker-registry", 1.0)], unit="MB/s", more=True)
        used = [statistics.median(cpu[what, name]) for name in ("estiva", "docker-registry")]
        print(f"| {what} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {used[0]:.2f} | {used[1]:.2f} |")


def memory(told: Results, directory: str, clients: int = 50, size: int = 500 << 20) -> None:
    server = Server("estiva", directory)
    try:
        path, digest = make(directory, size, "large")
        push(server.port, path, digest)
        start = server.peak()
        seconds = together([lambda: pull(server.port, digest)] * clients)
        peaks = f"peak {server.peak() >> 10} MB ({start >> 10} before)"
        what = f"of {size >> 20} MB at once"
        peak = {"estiva": server.peak() / 1024}
        told.add(f"peak of memory: {clients} pulls {what}", peak, unit="MB", limit=150)
        print(f"{clients} pulls of {size >> 20} MB in {seconds:.0f} s: {peaks}")
        if shutil.disk_usage(directory).free < (clients + 4) * size:
            print("no room for the pushes")
            return
        seconds = together([lambda: push(server.port, path, digest)] * clients)
        print(f"{clients} pushes of {size >> 20} MB in {seconds:.0f} s: peak {server.peak() >> 10} MB")
        peak = {"estiva": server.peak() / 1024}
        told.add(f"peak of memory: {clients} pushes {what}", peak, unit="MB", limit=150)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    wanted = parser.parse_args()
    told = Results("registry.py", wanted.rounds)
    directory = tempfile.mkdtemp(prefix="registry-benchmark-", dir="/var/tmp")
    try:
        throughput(told, directory, wanted.clients, wanted.size << 20)
        if wanted.memory:
            memory(told, directory)
        if wanted.json:
            told.save(wanted.json)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
