#!/usr/bin/env python3
"""Measures starts of containers beside its peers in one run, and prints the table of benchmarks/README.md.

    benchmarks/run.py [--rounds N] [--only NAME ...] [--json FILE]

Needs root, what ./test sets up, and Debian's docker.io docker-cli podman containerd runc crun and
docker-registry.
Everything runs in namespaces of its own, with state in a temporary folder. A round runs every peer once, in
turn, so that a slow moment hits all alike; the median is shown.
"""

import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import CHECKOUT, ESTIVA, ESTIVA_OCI, IMAGE, Bench, main  # noqa: E402

WARM = """
import sys, time, estiva
estiva.run(sys.argv[1], ['/bin/true'], network='none')
for line in sys.stdin:
    begin = time.perf_counter()
    result = estiva.run(sys.argv[1], ['/bin/true'], network='none')
    assert result.status == 0
    print((time.perf_counter() - begin) * 1000, flush=True)
"""


class Starts(Bench):
    # -- cold starts

    def run_rows(self):
        for network, goals in (
            ("none", [("podman", 0.28), ("docker", 0.14)]),
            ("bridge", [("podman", 0.25), ("docker", 0.15)]),
        ):
            words = ["run", "--rm", "--network", network, IMAGE, "/bin/true"]
            theirs = [
                "run",
                "--rm",
                "--network",
                {"bridge": "podman"}.get(network, network),
                IMAGE,
                "/bin/true",
            ]
            cases = {
                "estiva": lambda w=words: self.estiva.run(ESTIVA, *w),
                "podman": lambda w=theirs: self.v1.run(*self.podman, *w),
                "docker": lambda w=words: self.plain.run(*self.docker, *w),
            }
            self.rounds(f"run --rm --network {network}, cold process", cases, goals)

    def installed_rows(self):
        """What pip installs, against the checkout."""
        scripts = self.install()
        words = ["run", "--rm", "--network", "none", IMAGE, "/bin/true"]
        cases = {
            "estiva": lambda: self.estiva.run(f"{scripts}/estiva", *words),
            "checkout": lambda: self.estiva.run(ESTIVA, *words),
        }
        self.rounds("run --rm --network none, installed by pip", cases, [("checkout", 1.1)])
        cases = {"estiva": self.bundle(f"{scripts}/estiva-oci"), "checkout": self.bundle(ESTIVA_OCI)}
        self.rounds("estiva-oci run of a bundle, installed by pip", cases, [("checkout", 1.1)])

    def install(self):
        """A virtual environment with this checkout; the folder of its scripts. Nothing is fetched."""
        tree = pathlib.Path(self.folder, "tree")  # building writes into it
        tree.mkdir()
        for name in ("pyproject.toml", "README.md", "estiva", "estiva-oci"):
            shutil.copy(CHECKOUT / name, tree)
        shutil.copytree(
            CHECKOUT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        python = str(CHECKOUT / ".venv/bin/python3")
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        built = f"{self.folder}/wheel"
        venv = f"{self.folder}/venv"
        local = ["--no-index", "--no-deps"]
        subprocess.run([*pip, "wheel", *local, "--no-build-isolation", "-w", built, str(tree)], check=True)
        subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
        wheels = map(str, pathlib.Path(built).glob("*.whl"))
        pip += ["--python", f"{venv}/bin/python3"]
        subprocess.run([*pip, "install", "--root-user-action=ignore", *local, *wheels], check=True)
        return f"{venv}/bin"

    def bundle(self, runtime):
        """A cold run of the bundle, by a runtime with runc's command line."""
        root = f"{self.folder}/state-{os.path.basename(runtime)}"
        worker = self.estiva if "estiva" in os.path.basename(runtime) else self.v1
        return lambda: worker.run(runtime, "--root", root, "run", "-b", f"{self.folder}/bundle", "bench")

    def oci_row(self):
        cases = {"estiva": self.bundle(ESTIVA_OCI), "crun": self.bundle("crun"), "runc": self.bundle("runc")}
        self.rounds("estiva-oci run of a bundle, cold process", cases, [("crun", 2.0), ("runc", 1.0)])

    # -- warm starts, and each program for itself

    def warm(self):
        """A Python program that is up: (a start in it, its end)."""
        program = subprocess.Popen(
            [str(CHECKOUT / ".venv/bin/python3"), "-c", WARM, IMAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.estiva_env, "PYTHONPATH": str(CHECKOUT / "src")},
        )

        def start():
            print(file=program.stdin, flush=True)
            return float(program.stdout.readline())

        def end():
            program.stdin.close()
            program.wait()

        return start, end

    def api_row(self):
        start, end = self.warm()
        cases = {"estiva": start, "crun": self.bundle("crun"), "runc": self.bundle("runc")}
        self.rounds("estiva.run() in a warm Python process, against run of a bundle", cases, [("crun", 0.7)])
        end()

    def alone_rows(self):
        start, end = self.warm()
        cases = {"estiva": start, "crun": self.bundle("crun")}
        self.alone("estiva.run() in a warm Python process, alone in a loop", cases, [("crun", 0.7)])
        end()
        cases = {"estiva": self.bundle(ESTIVA_OCI), "crun": self.bundle("crun"), "runc": self.bundle("runc")}
        self.alone("estiva-oci run of a bundle, alone in a loop", cases, [("crun", 2.0), ("runc", 1.0)])

    # -- under other engines

    def ctr_row(self):
        """containerd with a state of its own; its namespace is the name of the cgroup too."""
        address, number = f"{self.folder}/containerd.sock", iter(range(10**6))
        config = f"{self.folder}/containerd.toml"
        pathlib.Path(config).write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        ctr = ["ctr", "-a", address, "-n", self.cgroup]
        self.daemon(
            "containerd",
            ["containerd", "--config", config, "--root", f"{self.folder}/containerd",
             "--state", f"{self.folder}/containerd-state", "--address", address],
            lambda: subprocess.run([*ctr, "version"], capture_output=True).returncode == 0,
        )  # fmt: skip
        self.v1.run(*ctr, "images", "import", f"{self.folder}/tiny.tar")

        def run(runtime):
            words = [
                "--runc-binary",
                runtime,
                "--runc-root",
                f"{self.folder}/ctr-{os.path.basename(runtime)}",
            ]
            return lambda: self.v1.run(*ctr, "run", "--rm", *words, IMAGE, f"b{next(number)}", "/bin/true")

        cases = {"estiva": run(ESTIVA_OCI), "runc": run(shutil.which("runc"))}
        self.rounds("ctr run --rm, with estiva-oci and with runc", cases, [("runc", 0.95)])

    def podman_row(self):
        words = ["run", "--rm", "--network", "none", IMAGE, "/bin/true"]

        def run(runtime):
            flags = [
                "--runtime",
                runtime,
                "--runtime-flag",
                f"root={self.folder}/podman-{os.path.basename(runtime)}",
            ]
            return lambda: self.v1.run(*self.podman, *flags, *words)

        cases = {"estiva": run(ESTIVA_OCI), "runc": run(shutil.which("runc"))}
        self.rounds("podman run --rm, with estiva-oci and with runc", cases, [("runc", 0.95)])

    # -- exec, memory, pull

    def exec_row(self):
        words = ["run", "-d", "--name", "bench", "--network", "none", IMAGE, "/bin/sleep", "1000"]
        self.estiva.run(ESTIVA, *words)
        self.plain.run(*self.docker, *words)
        self.v1.run(*self.podman, *words)
        cases = {
            "estiva": lambda: self.estiva.run(ESTIVA, "exec", "bench", "/bin/true"),
            "podman": lambda: self.v1.run(*self.podman, "exec", "bench", "/bin/true"),
            "docker": lambda: self.plain.run(*self.docker, "exec", "bench", "/bin/true"),
        }
        self.rounds("exec C /bin/true", cases, [("docker", 0.27)])
        self.results.add(
            "memory of one idle detached container (PSS)", {"estiva": self.pss()}, unit="MB", limit=4
        )
        self.estiva.run(ESTIVA, "rm", "-f", "bench")
        self.plain.run(*self.docker, "rm", "-f", "bench")
        self.v1.run(*self.podman, "rm", "-f", "bench")

    def pull_row(self):
        self.make_big_image()
        peers = {
            "estiva": (self.estiva, [ESTIVA]),
            "podman": (self.v1, self.podman),
            "docker": (self.plain, self.docker),
        }

        def clear(case):
            command = [*peers[case][1], "rmi", self.big]
            subprocess.run(command, capture_output=True, env={**os.environ, **self.estiva_env})

        def pull(case):
            worker, command = peers[case]
            extra = ["--tls-verify=false"] if case == "podman" else []
            return lambda: worker.run(*command, "pull", "-q", *extra, self.big)

        goals = [("docker", 0.25), ("podman", 0.40)]
        count = max(3, self.count // 5)
        name = "pull of one layer of 200 MB, 10,000 files, from docker-registry on loopback"
        self.rounds(name, {case: pull(case) for case in peers}, goals, clear, count)


ROWS = {
    "run": Starts.run_rows,
    "installed": Starts.installed_rows,
    "oci": Starts.oci_row,
    "api": Starts.api_row,
    "alone": Starts.alone_rows,
    "ctr": Starts.ctr_row,
    "podman": Starts.podman_row,
    "exec": Starts.exec_row,
    "pull": Starts.pull_row,
}


if __name__ == "__main__":
    main(Starts, ROWS, __doc__, rounds=20)
