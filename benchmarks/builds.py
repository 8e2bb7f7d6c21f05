#!/usr/bin/env python3
"""Measures builds beside docker's BuildKit in one run: steps, cache, contexts, packages, archive, registry.

    benchmarks/builds.py [--rounds N] [--only NAME ...] [--json FILE]
    benchmarks/builds/prepare.sh FOLDER && ESTIVA_BENCH_BUILDS=FOLDER benchmarks/builds.py --only pip npm

What it needs, and how it is kept apart from the machine, is as of benchmarks/run.py, and docker-buildx. The
rows of pip and npm need a Debian with both and the packages, which prepare.sh makes; without, they are left
out.
"""

import json
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import ESTIVA, IMAGE, PORT, Bench, main  # noqa: E402

FILES = 50_000
TEN = """
FROM {image} AS one
COPY context/a /a
RUN cat /a /a > /b
RUN cat /b /b > /c
WORKDIR /work
RUN cat /c > d
FROM {image}
COPY --from=one /work/d /d
RUN cat /d > /e
RUN cat /e > /f
COPY context/b /g
RUN cat /f /g > /h
"""
ONE = "FROM {image}\nCOPY context/a context/b /\n" + "".join(f"RUN cat /a /b > /c{n}\n" for n in range(9))
SLEEPS = "FROM {image} AS one\nRUN sleep 5\nFROM {image}\nRUN sleep 5\nCOPY --from=one /bin/cat /cat\n"
MANY = "FROM {image}\nCOPY files /files\n"
BIG = "FROM {image}\nCOPY big /big\n"
PIP = """
FROM bench/debian:1
RUN --mount=target=/in pip install --break-system-packages --no-index -f /in/wheels -r /in/requirements.txt
"""
NPM = """
FROM bench/debian:1
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=source=npm-cache,target=/cache,rw npm ci --offline --cache /cache
"""


class Builds(Bench):
    def __init__(self, *told):
        super().__init__(*told)
        self.peers = {
            "estiva": (self.estiva, [ESTIVA, "build"]),
            "docker": (self.plain, [*self.docker, "buildx", "build"]),
        }
        self.prepared = os.environ.get("ESTIVA_BENCH_BUILDS", "")

    def context(self, name, text):
        folder = pathlib.Path(self.folder, name)
        folder.mkdir()
        (folder / "Dockerfile").write_text(text.format(image=IMAGE).lstrip())
        return folder

    def build(self, folder, *words):
        """{who: what builds a folder}, with these options."""

        def one(case):
            worker, command = self.peers[case]
            return worker.run(*command, "-q", "-t", f"bench/{folder.name}:1", *words, str(folder))

        return {case: lambda c=case: one(c) for case in self.peers}

    def steps(self):
        folder = self.context("steps", TEN)
        (folder / "context").mkdir()
        for name in "ab":
            (folder / "context" / name).write_text(name * 10_000)
        name = "ten steps in two stages"
        self.rounds(f"{name}, without cache", self.build(folder, "--no-cache"), [("docker", 0.45)])
        self.rounds(f"{name}, cached", self.build(folder), [("docker", 0.3)], count=self.count * 3)

    def sleeps(self):
        folder = self.context("sleeps", SLEEPS)
        self.rounds(
            "two independent stages of `sleep 5`",
            self.build(folder, "--no-cache"),
            [("docker", 0.95)],
            count=2,
        )

    def files(self):
        folder = self.context("files", MANY)
        chance = random.Random(3)
        for number in range(FILES):
            path = folder / f"files/d{number % 499}/f{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(chance.randrange(200, 2000)))
        build = self.build(folder)
        self.rounds(f"{FILES:,} files, unchanged", build, [("docker", 0.7)])
        count = iter(range(1000))

        def change(case):
            (folder / "files/d7/f7").write_text(f"{case} {next(count)}")

        self.rounds(f"{FILES:,} files, one of them changed", build, [("docker", 0.5)], change)

    def debian(self):
        """The image that prepare.sh has made, in both; False without it."""
        archive = f"{self.prepared}/debian.tar"
        if not os.path.exists(archive):
            print(
                "no FOLDER of prepare.sh in ESTIVA_BENCH_BUILDS: rows of packages are left out",
                file=sys.stderr,
            )
            return False
        if not hasattr(self, "has_debian"):
            self.estiva.run(ESTIVA, "import", archive, "bench/debian:1")
            self.plain.run(*self.docker, "import", archive, "bench/debian:1")
            self.has_debian = True
        return True

    def packages(self, name, text, what):
        if self.debian():
            folder = pathlib.Path(self.prepared, name)
            (folder / "Dockerfile").write_text(text.lstrip())
            self.rounds(f"a layer of {what}", self.build(folder, "--no-cache"), [("docker", 0.9)])

    def big(self):
        folder = self.context("big", BIG)
        chance = random.Random(4)
        for number in range(200):
            path = folder / f"big/f{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(chance.randbytes(700_000) + b"text " * 60_000)
        for build in self.build(folder).values():
            build()
        out = f"{self.folder}/out.tar"
        # docker's own BuildKit has no OCI exporter, so its archive is that of `save`, which is not compressed
        cases = {
            "estiva": lambda: self.estiva.run(
                ESTIVA, "build", "-q", "-o", f"type=oci,dest={out}", str(folder)
            ),
            "docker": lambda: self.plain.run(*self.docker, "save", "-o", out, "bench/big:1"),
        }
        self.rounds("export of an image of 200 MB to an archive", cases, [("docker", 0.6)])

    def remote(self):
        """Both have pushed an inline cache, and have none of their own any more."""
        config = {
            "version": "0.1",
            "http": {"addr": f"127.0.0.1:{PORT}"},
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": f"{self.folder}/registry"}},
        }
        pathlib.Path(self.folder, "registry.json").write_text(json.dumps(config))
        self.start_registry()
        self.remote_row("ten steps of one stage", "remote", ONE)
        self.remote_row("ten steps in two stages", "stages", TEN)

    def remote_row(self, what, name, text):
        folder = self.context(name, text)
        (folder / "context").mkdir()
        for name in "ab":
            (folder / "context" / name).write_text(name * 10_000)
        place = {case: f"127.0.0.1:{PORT}/bench/{folder.name}-{case}:1" for case in self.peers}
        for case, (worker, command) in self.peers.items():
            worker.run(*command, "-q", "--cache-to", "type=inline", "-t", place[case], str(folder))
            worker.run(*command[:-2] if case == "docker" else [ESTIVA], "push", "-q", place[case])

        def forget(case):
            worker, command = self.peers[case]
            program = self.docker if case == "docker" else [ESTIVA]
            worker.run(*program, "rmi", "-f", place[case])
            worker.run(*program, "builder", "prune", "-af")

        def build(case):
            worker, command = self.peers[case]
            return worker.run(*command, "-q", "--cache-from", place[case], "-t", place[case], str(folder))

        cases = {case: lambda c=case: build(c) for case in self.peers}
        self.rounds(f"{what}, from a registry's inline cache", cases, [("docker", 0.5)], forget)


ROWS = {
    "steps": Builds.steps,
    "sleeps": Builds.sleeps,
    "files": Builds.files,
    "pip": lambda bench: bench.packages("pip", PIP, "`pip install`"),
    "npm": lambda bench: bench.packages("npm", NPM, "`npm ci`"),
    "big": Builds.big,
    "remote": Builds.remote,
}

if __name__ == "__main__":
    main(Builds, ROWS, __doc__, rounds=5)
