"""The executable estiva-oci with a state directory of its own, and bundles for it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import bundle

CHECKOUT = pathlib.Path(__file__).parents[2]
PROGRAM = str(CHECKOUT / "estiva-oci")


def gone(pid):
    """Whether a process has ended; who reaps it may be slow."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class Runtime:
    """`ours("state", "web")` runs a verb. All its containers are deleted at the end."""

    def __init__(self, folder, box):
        self.folder = folder
        self.box = box
        os.chmod(box, 0o755)  # for other users than root
        self.parent = f"/estiva-oci-{os.path.basename(folder)}"
        self.env = {
            "PATH": os.environ["PATH"],
            "ESTIVA_ROOT": f"{folder}/root",
            "ESTIVA_OCI_ROOT": f"{folder}/run/oci",
            "ESTIVA_CGROUP_PARENT": self.parent,
        }

    def popen(self, *words, env=(), fd3=-1, **options):
        """A verb in the background, its output on pipes. `fd3` is given to it as its fd 3."""
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE)
        if fd3 >= 0:
            options |= {"pass_fds": (3,), "preexec_fn": lambda: os.dup2(fd3, 3)}
        environment = self.env | dict(env)
        return subprocess.Popen([PROGRAM, *map(str, words)], env=environment, text=True, **options)

    def run(self, *words, **options):
        """(exit status, stdout, stderr) once it has ended: a container may hold the files for longer."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = self.popen(*words, stdout=out, stderr=err, **options)
            try:
                process.wait(timeout=300)
            finally:
                process.kill()
                process.wait()
            out.seek(0)
            err.seek(0)
            return process.returncode, out.read(), err.read()

    def __call__(self, *words, **options):
        status, out, err = self.run(*words, **options)
        assert status == 0, err
        return out

    def fails(self, *words, **options):
        status, _, err = self.run(*words, **options)
        assert status != 0
        return err

    def state(self, id):
        return json.loads(self("state", id))

    def wait(self, id, status="stopped", timeout=120):
        deadline = time.monotonic() + timeout
        while self.state(id)["status"] != status:
            assert time.monotonic() < deadline, self.state(id)
            time.sleep(0.01)

    def bundle(self, *args, hooks=None, annotations=None, rootfs=None, change=None, **process):
        """A new bundle that runs `args`; its path. `change` may edit the config."""
        config = bundle.config(*args, **process)
        config["root"] = {"path": rootfs or self.box, "readonly": rootfs is None}
        config["hooks"] = hooks or {}
        config["annotations"] = annotations or {}
        if change:
            change(config)
        folder = tempfile.mkdtemp(dir=self.folder)
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        return folder

    def own_root(self):
        """A root filesystem that may be written to."""
        return bundle.make_root(tempfile.mkdtemp(dir=self.folder))

    def close(self):
        states = f"{self.folder}/run/oci"
        for id in os.listdir(states) if os.path.isdir(states) else ():
            self.run("delete", "--force", id)
        for mount in pathlib.Path("/sys/fs/cgroup").glob(f"*{self.parent}"):
            with contextlib.suppress(OSError):
                mount.rmdir()
        with contextlib.suppress(OSError):
            os.rmdir(f"/sys/fs/cgroup{self.parent}")
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def runtime(box):
    made = Runtime(tempfile.mkdtemp(prefix="oci-", dir="/dev/shm"), box)
    try:
        yield made
    finally:
        made.close()


# What callers are tested with; ESTIVA_TEST_PEER=runc proves the tests themselves on another runtime.
PEER = os.environ.get("ESTIVA_TEST_PEER") or PROGRAM


class Machine:
    """Network and mount namespaces of our own, in which engines may do as they like: `machine.run("docker", ...)`."""

    def __init__(self, prefix):
        self.folder = tempfile.mkdtemp(prefix=prefix, dir="/var/tmp")
        setup = "ip link set lo up; umount /sys/fs/cgroup/unified 2>/dev/null; echo; exec sleep infinity"
        command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", setup]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.daemons = []
        self.env = {**os.environ}

    def words(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *map(str, words)]

    def daemon(self, *words):
        log = open(f"{self.folder}/log", "ab")  # noqa: SIM115  (the daemon's)
        self.daemons.append(
            subprocess.Popen(self.words(*words), stdout=log, stderr=log, start_new_session=True)
        )
        log.close()

    def run(self, *words, **options):
        """(exit status, stdout, stderr)"""
        done = subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=300, env=self.env, **options
        )
        return done.returncode, done.stdout, done.stderr

    def until(self, *words, timeout=240):
        """Try a command until it succeeds."""
        deadline = time.monotonic() + timeout
        while self.run(*words)[0]:
            log = pathlib.Path(self.folder, "log").read_text()[-2000:]
            assert time.monotonic() < deadline and self.daemons[-1].poll() is None, log
            time.sleep(0.2)

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=60)
            daemon.kill()
            daemon.wait()
        inside = os.readlink(f"/proc/{self.holder.pid}/ns/mnt")
        for _ in range(300):  # conmon has podman clean up after a container, in its own time
            if not [pid for pid in self.others(inside) if not gone(pid)]:
                break
            time.sleep(0.1)
        for pid in self.others(inside):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.holder.kill()
        self.holder.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def others(self, inside):
        """Who is in our mount namespace beside the holder."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if int(name) != self.holder.pid and os.readlink(f"/proc/{name}/ns/mnt") == inside:
                    yield int(name)


class Engine:
    """The verbs that docker and podman have alike. `engine("run", ...)` is its stdout."""

    def __init__(self, machine, *command):
        self.machine = machine
        self.command = command

    def run(self, *words, **options):
        return self.machine.run(*self.command, *words, **options)

    def __call__(self, *words, **options):
        status, out, err = self.run(*words, **options)
        assert status == 0, err
        return out

    def status(self, name):
        return self("inspect", "-f", "{{.State.Status}}", name).strip()
