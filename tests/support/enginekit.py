"""A host of the tests' own: state root, run root, cgroup parent and network namespace, with a busybox image.

`Host.estiva(...)` runs the command line in it as a user would; `close` proves that nothing is left behind.
"""

import concurrent.futures
import contextlib
import functools
import io
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sysconfig
import tarfile
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).parents[2]
ESTIVA = str(CHECKOUT / "estiva")
IMAGE = "box:1"
APPLETS = [
    "sh",
    "true",
    "false",
    "sleep",
    "cat",
    "ls",
    "id",
    "ps",
    "echo",
    "env",
    "printf",
    "mkdir",
    "touch",
    "rm",
    "ln",
    "chmod",
    "chown",
    "stat",
    "head",
    "tail",
    "wc",
    "grep",
    "sed",
    "dd",
    "yes",
    "kill",
    "nc",
    "wget",
    "ping",
    "ip",
    "hostname",
    "mount",
    "umount",
    "mknod",
    "readlink",
    "sync",
    "seq",
    "expr",
    "test",
    "usleep",
    "tee",
    "find",
    "sort",
    "nproc",
    "top",
    "stty",
    "tty",
    "who",
    "date",
    "du",
    "df",
    "cp",
    "mv",
    "pwd",
    "sha256sum",
    "unshare",
]


@functools.cache
def busybox_tar():
    """The path of a tar of a tiny root filesystem, made once for each test process, in its memory."""
    path = f"/proc/{os.getpid()}/fd/{os.memfd_create('busybox.tar')}"
    busybox = shutil.which("busybox") or "/bin/busybox"
    with tarfile.open(path, "w") as tar:

        def add(name, kind=tarfile.DIRTYPE, mode=0o755, link="", data=b""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
            tar.addfile(info, io.BytesIO(data))

        for name in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/share", "var"):
            add(name)
        add("root", mode=0o700)
        add("tmp", mode=0o1777)
        add("bin/busybox", tarfile.REGTYPE, data=pathlib.Path(busybox).read_bytes())
        for applet in APPLETS:
            add(f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
        passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n"
        add("etc/passwd", tarfile.REGTYPE, 0o644, data=passwd)
        add("etc/group", tarfile.REGTYPE, 0o644, data=b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return path


class Host:
    def __init__(self, driver=None):
        self.folder = tempfile.mkdtemp(prefix="estiva-test-", dir="/var/tmp")
        self.cgroup = f"/estiva-test-{os.path.basename(self.folder)[12:]}"
        self.env = {
            **os.environ,
            "ESTIVA_ROOT": f"{self.folder}/root",
            "ESTIVA_RUN_ROOT": f"{self.folder}/run",
            "ESTIVA_CGROUP_PARENT": self.cgroup,
            "DOCKER_CONFIG": f"{self.folder}/docker",
            **({"ESTIVA_STORAGE_DRIVER": driver} if driver else {}),
        }
        self.netns = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.netns.stdout.readline() == "ready\n"
        self.prefix = ["nsenter", "-t", str(self.netns.pid), "-n"]
        self.children = []

    def estiva(self, *words, status=0, input=None, text=True, timeout=300, env=None):
        """Run the command line; its CompletedProcess. `status=None` takes any exit status."""
        done = subprocess.run(
            [*self.prefix, ESTIVA, *map(str, words)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=text,
            timeout=timeout,
            env={**self.env, **(env or {})},
            cwd=self.folder,
        )
        assert "Traceback" not in str(done.stderr), done.stderr
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def out(self, *words, **options):
        """What the command line prints, without the last newline."""
        return self.estiva(*words, **options).stdout.rstrip("\n")

    def start(self, *words, **options):
        """The command line in the background; killed at `close` if it still runs then."""
        child = subprocess.Popen(
            [*self.prefix, ESTIVA, *map(str, words)], env=self.env, cwd=self.folder, **options
        )
        self.children.append(child)
        return child

    def until_up(self, *names):
        """Until each of these containers has said "up": that its trap stands, before which pid 1 hears nothing."""
        for name in names:
            eventually(lambda name=name: self.out("logs", name).endswith("up"))

    def import_busybox(self):
        self.estiva("import", busybox_tar(), IMAGE)

    def lay_image(self):
        """As `import_busybox`, in a new state root."""
        state = imported(self.env.get("ESTIVA_STORAGE_DRIVER"))
        if state is None:
            self.import_busybox()
            return
        with tarfile.open(fileobj=io.BytesIO(state)) as tar:
            tar.extractall(self.folder, filter="fully_trusted")

    def import_python(self, *programs):
        """`py:1`: this machine's Python and its library, with `programs` of the machine's."""
        library = sysconfig.get_path("stdlib")
        self.estiva("image", "from-host", "--tag", "py:1", "-f", library, "/usr/bin/python3", *programs)

    def image(self, name, changes=(), source=IMAGE):
        """An image over another with Dockerfile changes, by commit."""
        container = self.out("create", source, "true")
        for_change = [word for change in changes for word in ("--change", change)]
        self.estiva("commit", *for_change, container, name)
        self.estiva("rm", container)

    def python(self, code, timeout=300, status=0):
        """Run a Python program that imports estiva, in this host."""
        done = subprocess.run(
            [*self.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", code],
            env={**self.env, "PYTHONPATH": str(CHECKOUT / "src")},
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
        )
        assert status is None or done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def db(self, sql):
        """One statement in the state database, and its rows."""
        path = f"{self.folder}/root/estiva.db"
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            return connection.execute(sql).fetchall()

    def power_cut(self):
        """All processes, cgroups, mounts, interfaces and the run root are gone."""
        self.kill_containers()
        eventually(self.remove_cgroups)
        for line in reversed(self.mounts()):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
        eventually(self.remove_run_root)  # monitors and the resolver are on their way out
        subprocess.run([*self.prefix, "ip", "link", "del", "estiva0"], check=False)
        subprocess.run([*self.prefix, "nft", "flush", "ruleset"], check=False)

    def remove_run_root(self):
        shutil.rmtree(f"{self.folder}/run", ignore_errors=True)
        return not os.path.exists(f"{self.folder}/run")

    # -- what may be left ------------------------------------------------------------------------------------------

    def cgroups(self):
        """The container cgroups that exist, in every hierarchy."""
        found = []
        for top in ("/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").glob("*/"))):
            with contextlib.suppress(OSError):
                found += [f"{top}{self.cgroup}/{n.name}" for n in os.scandir(top + self.cgroup) if n.is_dir()]
        return found

    def mounts(self):
        return [line for line in open("/proc/self/mounts") if self.folder in line]

    def veths(self):
        done = subprocess.run([*self.prefix, "ip", "-o", "link"], capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if ": ve" in line]

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        if containers := self.out("ps", "-aq", status=None).split():
            self.estiva("rm", "-f", *containers, status=None)
        try:
            check = self.estiva("system", "check", status=None)
            assert check.returncode == 0, (check.stdout, check.stderr)
            eventually(lambda: not self.cgroups(), 30)  # that of a --rm goes after its end has been told
            eventually(lambda: not self.veths(), 30)  # the kernel takes them with the network namespace
        finally:
            self.tear_down()

    def kill_containers(self):
        """SIGKILL for all that is in the host's cgroups, which are the test's own."""
        for directory in self.cgroups():
            with contextlib.suppress(OSError):  # it may go at this moment
                for pid in map(int, pathlib.Path(directory, "cgroup.procs").read_text().split()):
                    with contextlib.suppress(ProcessLookupError):
                        if pid:  # 0 is one of another pid namespace; to kill(2) it is ourselves
                            os.kill(pid, signal.SIGKILL)

    def remove_cgroups(self):
        """Whether none is there any more: one can be removed a moment after its last process has ended."""
        for directory in self.cgroups():
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        return not self.cgroups()

    def tear_down(self):
        self.kill_containers()  # of a test that failed
        for line in reversed(self.mounts()):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
        for top in ("/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").glob("*/"))):
            for path in sorted(pathlib.Path(top + self.cgroup).glob("**/"), reverse=True):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        self.netns.send_signal(signal.SIGKILL)
        self.netns.wait()
        self.netns.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not os.path.exists(self.folder)


@functools.cache
def imported(driver):
    """A tar of a state root with the image, made once for each test process: to unpack it takes a tenth of what an
    import does. None with the driver that has all files of a layer, and their times to the nanosecond."""
    made = Host(driver)
    try:
        made.import_busybox()
        if list(pathlib.Path(made.folder).glob("root/layers/*/fs")):
            return None
        os.unlink(f"{made.folder}/root/run")  # leads to its run root: the next command makes it anew
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.add(f"{made.folder}/root", "root")
        return data.getvalue()
    finally:
        made.tear_down()


@contextlib.contextmanager
def host(driver=None):
    """A `Host` with the image; nothing may be left behind."""
    made = Host(driver)
    try:
        made.lay_image()
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


@functools.cache
def can_hibernate():
    """Whether monitors do here; without dash, or before Linux 6.15, they must do all awake."""
    from estiva import programs
    from estiva.engine.monitor import hibernate

    return bool(programs.find("dash")) and hibernate.tells_status()


def catches(pid, number):
    """Whether a process has a handler for a signal, by proc_pid_status(5)."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return int(caught, 16) >> number - 1 & 1


def eventually(condition, seconds=120):
    """Wait until `condition` gives something true; that. The bound is for what never comes, not for a slow machine.

    A look that takes long, as a command does, is had less often: what is waited for needs the machine too."""
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        result = condition()
        if result:
            return result
        time.sleep(min(max(0.02, 2 * (time.monotonic() - begun)), 0.3))
    raise AssertionError(f"not within {seconds} s: {condition}")


def nothing_of(looks):
    """Whether no look finds anything: side by side, as each waits its time out."""
    with concurrent.futures.ThreadPoolExecutor() as threads:
        return not any(threads.map(lambda look: look(), looks))
