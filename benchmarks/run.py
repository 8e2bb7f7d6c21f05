#!/usr/bin/env python3
"""Measures Estiva beside its peers in one run, and prints the table of benchmarks/README.md.

    benchmarks/run.py [--rounds N] [--only NAME ...]

Needs root, what ./test sets up, and Debian's docker.io docker-cli podman runc crun docker-registry.
Everything runs in network, mount and pid namespaces of its own, with state in a temporary folder: nothing of
the machine changes. A round runs every peer once, in turn, so that a slow moment hits all alike; the median
is shown.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent
sys.path.insert(0, str(HERE))
PORT = 5999  # of the registry
ESTIVA = str(CHECKOUT / "estiva")
ESTIVA_OCI = str(CHECKOUT / "estiva-oci")


class Worker:
    """Runs and times commands in namespaces of its own where a peer needs them changed."""

    def __init__(self, env, *before, unshare=False):
        argv = [*(["unshare", "-m"] if unshare else []), sys.executable, str(HERE / "timing.py"), *before]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
        )

    def run(self, *argv, status=0):
        found = [shutil.which(argv[0]) or argv[0], *argv[1:]]
        print(json.dumps(found), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if answer["status"] != status:
            raise SystemExit(f"{' '.join(argv)} ended with {answer['status']}: {answer['error']}")
        return answer["ms"]


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.results = {}
        podman_env = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        # crun refuses the hybrid cgroup layout, so the empty v2 tree is taken away where podman and crun run
        self.plain = Worker(podman_env)
        self.v1 = Worker(podman_env, "umount /sys/fs/cgroup/unified 2>/dev/null || true", unshare=True)
        self.estiva_env = {"ESTIVA_ROOT": f"{folder}/estiva", "ESTIVA_RUN_ROOT": f"{folder}/estiva-run"}
        self.cgroup = f"estiva-bench-{os.path.basename(folder)}"
        self.estiva = Worker({**self.estiva_env, "ESTIVA_CGROUP_PARENT": f"/{self.cgroup}"})
        self.podman = ["podman", "--root", f"{folder}/podman", "--runroot", f"{folder}/podman-run",
                       "--cgroup-manager", "cgroupfs", "--tmpdir", f"{folder}/podman-tmp",
                       "--network-config-dir", f"{folder}/podman-net"]  # fmt: skip
        self.socket = f"{folder}/docker.sock"
        self.docker = ["docker", "-H", f"unix://{self.socket}"]

    def start_dockerd(self):
        log = open(f"{self.folder}/dockerd.log", "wb")
        self.dockerd = subprocess.Popen(
            ["dockerd", "--data-root", f"{self.folder}/docker", "--exec-root", f"{self.folder}/docker-exec",
             "-H", f"unix://{self.socket}", "--pidfile", f"{self.folder}/docker.pid"],
            stdout=log, stderr=log,
        )  # fmt: skip
        for _ in range(300):
            if subprocess.run([*self.docker, "version"], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"dockerd did not start: {open(f'{self.folder}/dockerd.log').read()[-2000:]}")

    def rounds(self, name, count, cases, before=None):
        """Time every case `count` times in turn; the first round is not counted."""
        times = {case: [] for case in cases}
        for number in range(count + 1):
            for case, action in cases.items():
                if before:
                    before(case)
                ms = action()
                if number:
                    times[case].append(ms)
        self.results[name] = {case: statistics.median(all_) for case, all_ in times.items()}
        print(f"{name}: " + ", ".join(f"{c} {m:.1f}" for c, m in self.results[name].items()), file=sys.stderr)

    # -- preparation
    # ----------------------------------------------------------------------------------------------

    def make_rootfs(self):
        rootfs = pathlib.Path(self.folder, "bundle/rootfs")
        (rootfs / "bin").mkdir(parents=True)
        for name in ("proc", "sys", "dev", "tmp", "etc", "root"):
            (rootfs / name).mkdir()
        shutil.copy("/bin/busybox", rootfs / "bin/busybox")
        for applet in ("sh", "true", "sleep", "cat", "ls"):
            (rootfs / "bin" / applet).symlink_to("busybox")
        (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (rootfs / "etc/group").write_text("root:x:0:\n")
        subprocess.run(["runc", "spec", "-b", str(rootfs.parent)], check=True)
        config = json.loads((rootfs.parent / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/true"])
        (rootfs.parent / "config.json").write_text(json.dumps(config))
        archive = f"{self.folder}/rootfs.tar"
        subprocess.run(["tar", "-C", str(rootfs), "-cf", archive, "."], check=True)
        self.estiva.run(ESTIVA, "import", archive, "docker.io/bench/tiny:1")
        self.estiva.run(ESTIVA, "save", "-o", f"{self.folder}/tiny.tar", "bench/tiny:1")
        self.plain.run(*self.docker, "load", "-i", f"{self.folder}/tiny.tar")
        self.v1.run(*self.podman, "load", "-i", f"{self.folder}/tiny.tar")

    def make_big_image(self):
        """One layer of 200 MB in 10,000 files, about a third of it incompressible, in a docker-registry."""
        import random

        chance = random.Random(1)
        top = pathlib.Path(self.folder, "big")
        text = " ".join(str(chance.randrange(10**6)) for _ in range(20_000)).encode()
        for number in range(10_000):
            path = top / f"usr/share/d{number % 97}/s{number % 7}" / f"file{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            start = chance.randrange(len(text) // 2)
            path.write_bytes(chance.randbytes(6_600) + text[start : start + 14_900])
        archive = f"{self.folder}/big.tar"
        subprocess.run(["tar", "-C", str(top), "-cf", archive, "."], check=True)
        config = {
            "version": "0.1",
            "http": {"addr": f"127.0.0.1:{PORT}"},
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": f"{self.folder}/registry"}},
        }
        pathlib.Path(self.folder, "registry.json").write_text(json.dumps(config))
        self.start_registry()
        self.big = f"127.0.0.1:{PORT}/bench/big:1"
        self.estiva.run(ESTIVA, "import", archive, self.big)
        self.estiva.run(ESTIVA, "push", self.big)
        self.estiva.run(ESTIVA, "rmi", self.big)
        shutil.rmtree(top)
        os.unlink(archive)

    def start_registry(self):
        log = open(f"{self.folder}/registry.log", "ab")
        command = ["docker-registry", "serve", f"{self.folder}/registry.json"]
        self.registry = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("docker-registry did not start")

    # -- the rows
    # ---------------------------------------------------------------------------------------------------

    def run_rows(self, count):
        image = "bench/tiny:1"
        for network in ("none", "bridge"):
            arguments = ["run", "--rm", "--network", network, image, "/bin/true"]
            podman_net = {"none": "none", "bridge": "podman"}[network]
            self.rounds(
                f"run --rm --network {network}, cold process",
                count,
                {
                    "estiva": lambda a=arguments: self.estiva.run(ESTIVA, *a),
                    "podman": lambda n=podman_net: self.v1.run(
                        *self.podman, "run", "--rm", "--network", n, image, "/bin/true"
                    ),
                    "docker": lambda a=arguments: self.plain.run(*self.docker, *a),
                },
            )

    def bundle(self, runtime):
        """A cold run of the bundle, by a runtime with runc's command line."""
        root = f"{self.folder}/state-{os.path.basename(runtime)}"
        bundle = f"{self.folder}/bundle"
        worker = self.estiva if runtime == ESTIVA_OCI else self.v1
        return lambda: worker.run(runtime, "--root", root, "run", "-b", bundle, "bench")

    def oci_row(self, count):
        cases = {"estiva": ESTIVA_OCI, "crun": "crun", "runc": "runc"}
        self.rounds("oci run of a bundle, cold process", count, {c: self.bundle(r) for c, r in cases.items()})

    def api_row(self, count):
        code = (
            "import sys, time, estiva\n"
            "estiva.run('bench/tiny:1', ['/bin/true'], network='none')\n"
            "for line in sys.stdin:\n"
            "    begin = time.perf_counter()\n"
            "    result = estiva.run('bench/tiny:1', ['/bin/true'], network='none')\n"
            "    assert result.status == 0\n"
            "    print((time.perf_counter() - begin) * 1000, flush=True)\n"
        )
        program = subprocess.Popen(
            [str(CHECKOUT / ".venv/bin/python3"), "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.estiva_env, "PYTHONPATH": str(CHECKOUT / "src")},
        )

        def warm():
            print(file=program.stdin, flush=True)
            return float(program.stdout.readline())

        cases = {"estiva": warm, "crun": self.bundle("crun"), "runc": self.bundle("runc")}
        self.rounds("warm Python API against a bundle", count, cases)
        program.stdin.close()
        program.wait()

    def exec_row(self, count):
        image = "bench/tiny:1"
        name = ["run", "-d", "--name", "bench", "--network", "none", image, "/bin/sleep", "1000"]
        self.estiva.run(ESTIVA, *name)
        self.plain.run(*self.docker, *name)
        self.v1.run(*self.podman, *name)
        self.rounds(
            "exec C /bin/true",
            count,
            {
                "estiva": lambda: self.estiva.run(ESTIVA, "exec", "bench", "/bin/true"),
                "podman": lambda: self.v1.run(*self.podman, "exec", "bench", "/bin/true"),
                "docker": lambda: self.plain.run(*self.docker, "exec", "bench", "/bin/true"),
            },
        )
        self.results["PSS of one idle detached container, MB"] = {"estiva": self.pss()}
        self.estiva.run(ESTIVA, "rm", "-f", "bench")
        self.plain.run(*self.docker, "rm", "-f", "bench")
        self.v1.run(*self.podman, "rm", "-f", "bench")

    def pss(self):
        """Everything that stays for the container: its monitor and its processes, alone on the machine."""
        run = pathlib.Path(self.estiva_env["ESTIVA_RUN_ROOT"], "containers")
        total = 0
        for state in run.glob("*/state.json"):
            info = json.loads(state.read_text())
            for pid in (info["monitor"], info["pid"]):
                for line in open(f"/proc/{pid}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total / 1024

    def pull_row(self, count):
        peers = {
            "estiva": (self.estiva, [ESTIVA]),
            "podman": (self.v1, self.podman),
            "docker": (self.plain, self.docker),
        }

        def clear(case):
            worker, command = peers[case]
            subprocess.run(
                [*command, "rmi", self.big], capture_output=True, env={**os.environ, **self.estiva_env}
            )

        def pull(case):
            worker, command = peers[case]
            extra = ["--tls-verify=false"] if case == "podman" else []
            return lambda: worker.run(*command, "pull", "-q", *extra, self.big)

        self.rounds("pull of a 200 MB layer of 10,000 files", count, {c: pull(c) for c in peers}, clear)

    def close(self):
        for worker in (self.plain, self.v1, self.estiva):
            worker.process.stdin.close()
        for process in (getattr(self, "registry", None), getattr(self, "dockerd", None)):
            if process:
                process.terminate()
                process.wait()
        for pattern in (self.cgroup, f"*/{self.cgroup}"):  # v2; v1
            for left in pathlib.Path("/sys/fs/cgroup").glob(pattern):
                left.rmdir()


GOALS = {  # row -> [(peer, at most)]
    "run --rm --network none, cold process": [("podman", 0.30), ("docker", 0.18)],
    "run --rm --network bridge, cold process": [("podman", 0.25), ("docker", 0.15)],
    "oci run of a bundle, cold process": [("runc", 1.0), ("crun", 2.5)],
    "warm Python API against a bundle": [("crun", 0.7)],
    "exec C /bin/true": [("docker", 0.30)],
    "pull of a 200 MB layer of 10,000 files": [("docker", 0.25), ("podman", 0.40)],
}


def table(results):
    print("| what | estiva | peers | ratio | at most |")
    print("|---|---|---|---|---|")
    for name, row in results.items():
        ours = row["estiva"]
        peers = ", ".join(f"{peer} {ms:.1f}" for peer, ms in row.items() if peer != "estiva")
        goals = GOALS.get(name, [])
        ratios = ", ".join(f"{ours / row[peer]:.2f} x {peer}" for peer, _ in goals)
        limits = ", ".join(f"{limit:.2f} x {peer}" for peer, limit in goals)
        print(f"| {name} | {ours:.1f} | {peers} | {ratios} | {limits or '4 MB'} |")


def isolate(inside):
    """Go on in network, mount and pid namespaces of our own, unless we are `inside` them."""
    if not inside:
        isolated = ["unshare", "-nmp", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        os.execvp("unshare", [*isolated, sys.executable, *sys.argv, "--inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def running(kind, prefix):
    """A `kind` of Bench with dockerd and images, in a temporary folder that is gone afterwards."""
    folder = tempfile.mkdtemp(prefix=prefix, dir="/var/tmp")
    bench = kind(folder)
    try:
        bench.start_dockerd()
        bench.make_rootfs()
        yield bench
    finally:
        bench.close()
        for line in reversed(open("/proc/self/mounts").read().splitlines()):  # in our own mount namespace
            if line.split()[1].startswith(folder + "/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=["run", "oci", "api", "exec", "pull"])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    isolate(options.inside)
    with running(Bench, "estiva-bench-") as bench:
        if "run" in options.only:
            bench.run_rows(options.rounds)
        if "oci" in options.only:
            bench.oci_row(options.rounds)
        if "api" in options.only:
            bench.api_row(options.rounds)
        if "exec" in options.only:
            bench.exec_row(options.rounds)
        if "pull" in options.only:
            bench.make_big_image()
            bench.pull_row(max(3, options.rounds // 5))
        table(bench.results)


if __name__ == "__main__":
    main()
