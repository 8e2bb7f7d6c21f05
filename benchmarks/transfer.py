#!/usr/bin/env python3
"""Measures pull, push and pull-to-first-instruction beside docker and podman in one run.

    benchmarks/transfer.py [--rounds N] [--json FILE]

Needs what benchmarks/run.py needs. All from and to a docker-registry on loopback, in namespaces and folders
of its own, every peer once in each round; medians.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess

from bench import ESTIVA, Bench, finish, isolate, running

FILES = 10_000
LAYERS = 12


class Transfer(Bench):
    def __init__(self, *told):
        super().__init__(*told)
        self.peers = {
            "estiva": (self.estiva, [ESTIVA]),
            "podman": (self.v1, self.podman),
            "docker": (self.plain, self.docker),
        }

    def make_many_layers(self):
        """The big image's files again, in twelve layers over a busybox that can run."""
        chance = random.Random(2)
        text = " ".join(str(chance.randrange(10**6)) for _ in range(20_000)).encode()
        context = pathlib.Path(self.folder, "many")
        lines = ["FROM bench/tiny:1"]
        for layer in range(LAYERS - 1):
            for number in range(FILES // LAYERS):
                path = context / f"l{layer}/usr/share/d{number % 97}/file{layer}-{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                start = chance.randrange(len(text) // 2)
                path.write_bytes(chance.randbytes(6_600) + text[start : start + 14_900])
            lines.append(f"COPY l{layer} /")
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        self.many = self.big.replace("/big:", "/many:")
        self.estiva.run(ESTIVA, "build", "-q", "-t", self.many, str(context))
        self.estiva.run(ESTIVA, "push", "-q", self.many)
        self.estiva.run(ESTIVA, "rmi", self.many)
        self.estiva.run(ESTIVA, "builder", "prune", "-f")
        shutil.rmtree(context)

    def tool(self, case, *words):
        worker, command = self.peers[case]
        insecure = ["--tls-verify=false"] if case == "podman" and words[0] in ("pull", "push", "run") else []
        return worker.run(*command, words[0], *insecure, *words[1:])

    def clear(self, image):
        def remove(case):
            _, command = self.peers[case]
            environment = {**os.environ, **self.estiva_env}
            subprocess.run([*command, "rmi", "-f", image], capture_output=True, env=environment)

        return remove

    def each(self, *words):
        return {case: lambda c=case: self.tool(c, *words) for case in self.peers}

    def rows(self):
        names = (
            (self.big, "one layer of 200 MB, 10,000 files", [("docker", 0.15), ("podman", 0.25)]),
            (self.many, f"{LAYERS} layers, the same in all", [("docker", 0.15), ("podman", 0.20)]),
        )
        for image, what, goals in names:
            self.rounds(f"pull: {what}", self.each("pull", "-q", image), goals, self.clear(image))
        for case in self.peers:
            self.tool(case, "pull", "-q", self.many)
        here = self.each("pull", "-q", self.many)
        self.rounds("pull of what is here already", here, [("podman", 0.30)], count=self.count * 3)
        run = self.each("run", "--rm", "--network", "none", self.many, "/bin/true")
        name = f"pull to first instruction (run of an absent image, {LAYERS} layers)"
        self.rounds(name, run, [("docker", 0.15), ("podman", 0.25)], self.clear(self.many))
        for image, *_ in names:  # all of them first: pushing empties the registry
            for case in self.peers:
                self.tool(case, "pull", "-q", image)
        for image, what, _ in names:
            self.push_row(image, what)

    def push_row(self, image, what):
        """To a repository that nobody has pushed to, so that all bytes go."""
        number = iter(range(10_000))
        where = self.big.partition("/")[0]
        target = {}

        def fresh(case):
            # an empty registry each time: a blob that is anywhere in it would be mounted or skipped
            self.daemons.remove(self.registry)
            self.registry.terminate()
            self.registry.wait()
            shutil.rmtree(f"{self.folder}/registry", ignore_errors=True)
            self.start_registry()
            target[case] = f"{where}/pushed/{case}{next(number)}:1"
            self.tool(case, "tag", image, target[case])

        cases = {case: lambda c=case: self.tool(c, "push", "-q", target[c]) for case in self.peers}
        self.rounds(f"push: {what}", cases, [("docker", 0.30)], fresh)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    isolate(options.inside)
    with running(Transfer, "estiva-transfer-", options.rounds) as bench:
        bench.make_big_image()
        bench.make_many_layers()
        bench.rows()
        finish(bench, options.json)


if __name__ == "__main__":
    main()
