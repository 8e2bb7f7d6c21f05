#!/usr/bin/env python3
"""Measures how fast what a container writes gets into its log, beside docker's json-file driver in one run.

    benchmarks/logs.py [--rounds N] [--json FILE]

Needs what benchmarks/run.py needs. A detached container writes SIZE bytes of lines of 100 bytes, then of
10 kB; the time is that from its start to its end, with three files of 20 MB kept by both. Told in MB/s.
"""

import argparse
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import ESTIVA, IMAGE, Bench, finish, isolate, running  # noqa: E402

SIZE = 256 << 20
KEPT = "--log-opt max-size=20m --log-opt max-file=3"


class Logs(Bench):
    def rows(self, others=()):
        for length in (100, 10_000):
            path = pathlib.Path(self.folder, f"lines-{length}")
            path.write_bytes((b"x" * (length - 1) + b"\n") * (SIZE // length))
            words = f"-d --network none -v {path}:/lines:ro"
            pump = f"{IMAGE} cat /lines"
            programs = {"estiva": (self.estiva, ESTIVA), "docker": (self.plain, " ".join(self.docker))}
            programs.update({name: (self.estiva, program) for name, program in others})
            times = {name: [] for name in programs}
            for number in range(self.count + 1):
                for name, (worker, program) in programs.items():
                    kept = "" if name not in ("estiva", "docker") else KEPT
                    script = f"id=$({program} run {words} {kept} {pump}) && {program} wait $id"
                    ms = worker.run("sh", "-ec", script)
                    worker.run("sh", "-ec", f"{program} rm $({program} ps -aq)")
                    if number:
                        times[name].append(SIZE / 1e6 / (ms / 1000))
            median = {name: round(statistics.median(all_)) for name, all_ in times.items()}
            self.keep(f"log, MB/s, lines of {length} bytes", times, [])
            print(f"lines of {length} bytes, MB/s: {median}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument(
        "--beside", action="append", default=[], metavar="NAME=PROGRAM", help="another estiva"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    isolate(words.inside)
    with running(Logs, "estiva-bench-logs-", words.rounds) as bench:
        bench.rows([word.split("=", 1) for word in words.beside])
        finish(bench, words.json)


if __name__ == "__main__":
    main()
