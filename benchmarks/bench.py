"""What the benchmarks beside other engines share: namespaces of their own, workers, engines, images.

Everything runs in network, mount and pid namespaces of its own, with state in a temporary folder: nothing of
the machine changes.
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

from results import Results

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent
PORT = 5999  # of the registry
ESTIVA = str(CHECKOUT / "estiva")
ESTIVA_OCI = str(CHECKOUT / "estiva-oci")
IMAGE = "docker.io/bench/tiny:1"


class Worker:
    """Runs and times commands in namespaces of its own where a peer needs them changed."""

    def __init__(self, env, *before, unshare=False):
        argv = [*(["unshare", "-m"] if unshare else []), sys.executable, str(HERE / "timing.py"), *before]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
        )

    def run(self, *argv, status=0):
        """Milliseconds that a command took."""
        found = [shutil.which(argv[0]) or argv[0], *argv[1:]]
        print(json.dumps(found), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if answer["status"] != status:
            raise SystemExit(f"{' '.join(argv)} ended with {answer['status']}: {answer['error']}")
        return answer["ms"]


class Bench:
    def __init__(self, folder, program, rounds):
        self.folder = folder
        self.count = rounds
        self.results = Results(program, rounds)
        self.daemons = []
        self.cgroup = f"estiva-bench-{os.path.basename(folder)}"
        self.estiva_env = {
            "ESTIVA_ROOT": f"{folder}/estiva",
            "ESTIVA_RUN_ROOT": f"{folder}/estiva-run",
            "ESTIVA_CGROUP_PARENT": f"/{self.cgroup}",
        }
        self.estiva = Worker(self.estiva_env)
        podman_env = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        podman_env["CONTAINERS_CONF_OVERRIDE"] = self.containers_conf()
        # crun refuses the hybrid cgroup layout, so the empty v2 tree is taken away where podman and crun run
        self.plain = Worker(podman_env)
        self.v1 = Worker(podman_env, "umount /sys/fs/cgroup/unified 2>/dev/null || true", unshare=True)
        self.podman = ["podman", "--root", f"{folder}/podman", "--runroot", f"{folder}/podman-run",
                       "--cgroup-manager", "cgroupfs", "--tmpdir", f"{folder}/podman-tmp",
                       "--network-config-dir", f"{folder}/podman-net"]  # fmt: skip
        self.socket = f"{folder}/docker.sock"
        self.docker = ["docker", "-H", f"unix://{self.socket}"]

    def containers_conf(self):
        """What podman's conmon gives to the runtime: compiled filters of estiva-oci belong in our folder."""
        variables = [f"PATH={os.environ['PATH']}", f"ESTIVA_ROOT={self.folder}/estiva"]
        path = f"{self.folder}/containers.conf"
        pathlib.Path(path).write_text(f"[engine]\nconmon_env_vars = {json.dumps(variables)}\n")
        return path

    def daemon(self, name, words, answers):
        """Start a daemon with its log in our folder; wait until `answers` gives true."""
        log = f"{self.folder}/{name}.log"
        with open(log, "ab") as out:
            process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **self.estiva_env})
        self.daemons.append(process)
        for _ in range(600):
            if answers():
                return process
            time.sleep(0.1)
        raise SystemExit(f"{name} did not start: {open(log).read()[-2000:]}")

    def start_dockerd(self):
        self.daemon(
            "dockerd",
            ["dockerd", "--data-root", f"{self.folder}/docker", "--exec-root", f"{self.folder}/docker-exec",
             "-H", f"unix://{self.socket}", "--pidfile", f"{self.folder}/docker.pid"],
            lambda: subprocess.run([*self.docker, "version"], capture_output=True).returncode == 0,
        )  # fmt: skip

    def rounds(self, name, cases, goals=(), before=None, count=0):
        """A row: every case `count` times, in turn; the first round is not counted."""
        times = {case: [] for case in cases}
        for number in range((count or self.count) + 1):
            for case, action in cases.items():
                if before:
                    before(case)
                ms = action()
                if number:
                    times[case].append(ms)
        self.keep(name, times, goals)

    def alone(self, name, cases, goals=(), count=50, warm=5):
        """A row: each case alone in a loop, so that all its pages are warm."""
        times = {case: [action() for _ in range(warm + count)][warm:] for case, action in cases.items()}
        self.keep(name, times, goals)

    def keep(self, name, times, goals):
        medians = {case: statistics.median(all_) for case, all_ in times.items()}
        self.results.add(name, medians, goals)
        print(f"{name}: " + ", ".join(f"{case} {ms:.1f}" for case, ms in medians.items()), file=sys.stderr)

    # -- preparation
    # ----------------------------------------------------------------------------------------------

    def make_rootfs(self):
        """A bundle, and an image of it in every engine."""
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
        self.estiva.run(ESTIVA, "import", archive, IMAGE)
        self.estiva.run(ESTIVA, "save", "-o", f"{self.folder}/tiny.tar", IMAGE)
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
        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", PORT)) == 0

        command = ["docker-registry", "serve", f"{self.folder}/registry.json"]
        self.registry = self.daemon("docker-registry", command, answers)

    def pss(self):
        """Everything that stays for the container: its monitor and its processes. MB."""
        total = 0
        for state in pathlib.Path(self.estiva_env["ESTIVA_RUN_ROOT"], "containers").glob("*/state.json"):
            info = json.loads(state.read_text())
            for pid in (info["monitor"], info["pid"]):
                for line in open(f"/proc/{pid}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total / 1024

    # -- the end
    # --------------------------------------------------------------------------------------------------

    def close(self):
        for worker in (self.plain, self.v1, self.estiva):
            worker.process.stdin.close()
        for process in reversed(self.daemons):
            process.terminate()
            process.wait()
        deadline = time.monotonic() + 60
        while self.cgroups_left() and time.monotonic() < deadline:
            time.sleep(0.1)

    def cgroups_left(self):
        """Remove what is empty of ours, from below; whether there is more. Containers, and those that wait in
        reserve for this very program, may still be on their way out."""
        top = pathlib.Path("/sys/fs/cgroup")
        ours = [*top.glob(f"{self.cgroup}*"), *top.glob(f"*/{self.cgroup}*")]  # v2; v1
        for left in ours:
            for folder, _, _ in os.walk(left, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return any(left.exists() for left in ours)


def isolate(inside):
    """Go on in network, mount and pid namespaces of our own, unless we are `inside` them."""
    if not inside:
        isolated = ["unshare", "-nmp", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        os.execvp("unshare", [*isolated, sys.executable, *sys.argv, "--inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def running(kind, prefix, rounds):
    """A `kind` of Bench with dockerd and images, in a temporary folder that is gone afterwards."""
    folder = tempfile.mkdtemp(prefix=prefix, dir="/var/tmp")
    os.chmod(folder, 0o755)  # containers look for their root from below
    bench = kind(folder, os.path.basename(sys.argv[0]), rounds)
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


def finish(bench, path):
    """Print the table, and write the JSON if a file was named."""
    print(bench.results.table())
    if path:
        bench.results.save(path)


def main(kind, rows, about, *, rounds):
    """The program of a `kind` of Bench: its `rows`, by name, are functions of one."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", nargs="*", default=list(rows), choices=rows)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    isolate(options.inside)
    with running(kind, "estiva-bench-", options.rounds) as bench:
        for name in rows:
            if name in options.only:
                rows[name](bench)
        finish(bench, options.json)
