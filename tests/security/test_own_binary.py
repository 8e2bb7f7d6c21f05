"""K4: the interpreter that this engine runs in is never executed, opened for writing or traced from inside.

The attack (CVE-2019-5736): a container gets a process to execute /proc/self/exe, which is a file of the host,
under a loader of its own; that one keeps the file open and waits for the moment when it can be written to.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundle
import ocikit
import rawelf
from bundle import Running, config, requires_kernel
from enginekit import IMAGE, eventually, host
from estiva.errors import EstivaError
from estiva.runtime.launch import container
from estiva.runtime.launch.exec import execute
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = [requires_kernel, rawelf.requires_x86]

OURS = os.path.realpath(sys.executable)
LOADER = "lib64/ld-linux-x86-64.so.2"
NONE = ("--network", "none")
SOURCE = str(Path(__file__).parents[2] / "src")
TELL = rawelf.program([(89, b"/proc/self/exe", rawelf.SCRATCH, 4096)])  # says which file it was started from
COMMANDS = {"/swap/elf": "/swap/elf", "/swap/interpreter": "/swap/script"}  # what is swapped -> what is run


def lay_trap(directory: str) -> None:
    """In a root filesystem: a loader of the attacker's for dynamic programs, and honest programs beside it."""
    files = {
        LOADER: TELL,
        "swap/elf": TELL,
        "swap/interpreter": TELL,
        "swap/script": b"#!/swap/interpreter x\n",
    }
    for name, data in files.items():
        where = Path(directory, name)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data)
        where.chmod(0o755)
    os.symlink("/proc/self/exe", f"{directory}/swap/evil")


@contextlib.contextmanager
def flipping(directory: str, name: str) -> Iterator[None]:
    """Somebody in the container swaps `name` with a link to /proc/self/exe, as fast as can be."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from estiva.linux import fs\n"
        "print(flush=True)\nwhile True: fs.rename_exchange(sys.argv[2], sys.argv[3])"
    )
    words = [sys.executable, "-c", code, SOURCE, f"{directory}{name}", f"{directory}/swap/evil"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
            assert process.poll() is None, process.stderr and process.stderr.read()
        finally:
            process.kill()


def both_faces(seen: Counter[str], name: str) -> bool:
    return any(where in seen for where in (name, "/swap/evil")) and any(
        "magic link" in where for where in seen
    )


def try_often(seen: Counter[str], name: str, once: Callable[[], str]) -> None:
    """Count what `once` says, 20 times, and on until both faces were met."""
    for number in range(80):
        if number >= 20 and both_faces(seen, name):
            break
        seen[once()] += 1


def judge(seen: Counter[str], name: str) -> None:
    """Both faces were met, and the host's interpreter was never started."""
    assert both_faces(seen, name), seen
    assert not [where for where in seen if not where.startswith("/swap/") and "exec: " not in where], seen


def said(text: str) -> str:
    return text.strip("\0").rsplit("\0", 1)[-1].strip()


def one_exec(pid: int, command: str) -> str:
    out, into = os.pipe()
    try:
        init = execute(pid, config(command)["process"], stdio=(-1, into, into))
    finally:
        os.close(into)
    try:
        return said(bundle.finish(init, out)[1])
    except EstivaError as error:
        os.close(out)
        return str(error)


# --- it is not executed ---


@pytest.mark.parametrize("swapped", COMMANDS)
def test_a_swap_during_exec_starts_no_file_of_the_host(rootfs: Rootfs, swapped: str) -> None:
    assert rootfs.upper is not None
    lay_trap(rootfs.upper)
    seen: Counter[str] = Counter()
    with Running(config("sleep", "1000"), rootfs) as it, flipping(f"/proc/{it.init.pid}/root", swapped):
        try_often(seen, swapped, lambda: one_exec(it.init.pid, COMMANDS[swapped]))
    judge(seen, swapped)


def one_start(spec: dict[str, Any], rootfs: Rootfs) -> str:
    try:
        return said(bundle.run(spec, rootfs)[1])
    except EstivaError as error:
        return str(error)


@pytest.mark.parametrize("swapped", COMMANDS)
def test_a_swap_in_a_shared_root_during_a_start(box: str, tmp_path: Path, swapped: str) -> None:
    """Two containers on one root directory: one of them swaps while the other starts."""
    root = bundle.make_root(str(tmp_path / "root"))
    lay_trap(root)
    seen: Counter[str] = Counter()
    with flipping(root, swapped):
        try_often(seen, swapped, lambda: one_start(config(COMMANDS[swapped]), Rootfs(path=root)))
    judge(seen, swapped)


def test_a_swap_in_a_shared_volume_during_a_start(rootfs: Rootfs, tmp_path: Path) -> None:
    """The root is the container's own, the volume that the command is in is not."""
    assert rootfs.upper is not None
    lay_trap(rootfs.upper)
    lay_trap(str(tmp_path))
    spec = config("/swap/elf")
    spec["mounts"].append({"destination": "/swap", "source": f"{tmp_path}/swap", "options": ["rbind"]})
    seen: Counter[str] = Counter()
    with flipping(str(tmp_path), "/swap/elf"):
        try_often(seen, "/swap/elf", lambda: one_start(spec, rootfs))
    judge(seen, "/swap/elf")


def test_a_swap_during_exec_of_the_commands(box: str, tmp_path: Path) -> None:
    """The same through `estiva exec` and `estiva oci exec`, as users start them."""
    with host() as engine:
        engine.estiva("run", "-d", "--name", "box", "--network", "none", IMAGE, "sleep", "1000")
        root = f"/proc/{engine.out('inspect', '-f', '{{.State.Pid}}', 'box')}/root"
        lay_trap(root)

        def exec_once() -> str:
            done = engine.estiva("exec", "box", "/swap/elf", status=None)
            return said(done.stdout or done.stderr)

        with flipping(root, "/swap/elf"):
            seen: Counter[str] = Counter()
            try_often(seen, "/swap/elf", exec_once)
        judge(seen, "/swap/elf")
    with ocikit.runtime(box) as oci:
        own = oci.own_root()
        lay_trap(own)
        oci("run", "--detach", "--bundle", oci.bundle("sleep", "1000", rootfs=own), "box")

        def oci_exec_once() -> str:
            _, out, err = oci.run("exec", "box", "/swap/elf")
            return said(out or err)

        with flipping(own, "/swap/elf"):
            seen = Counter()
            try_often(seen, "/swap/elf", oci_exec_once)
        judge(seen, "/swap/elf")


def test_what_a_filter_without_execveat_gets(rootfs: Rootfs, tmp_path: Path) -> None:
    """A profile that knows execve alone still starts a program; one with execveat is asked by it."""
    from estiva.linux import process
    from estiva.runtime.security.capabilities import DEFAULT_CAPABILITIES
    from estiva.runtime.security.seccomp import default_filter, profile_filter

    def profile(*names: str) -> bytes:
        rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
        return profile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, [], str(tmp_path))

    assert process.filter_allows(default_filter(DEFAULT_CAPABILITIES, str(tmp_path)), 322)
    assert not process.filter_allows(profile("execveat"), 322)
    assert process.filter_allows(profile("getppid"), 322)
    with Running(config("sleep", "1000"), rootfs) as it:
        for bpf in (profile("execveat"), profile("getppid")):
            out, into = os.pipe()
            words = config("/bin/busybox", "echo", "up")["process"]
            init = execute(it.init.pid, words, stdio=(-1, into, into), bpf=bpf)
            os.close(into)
            assert bundle.finish(init, out) == (0, "up\n")


def test_scripts_get_the_arguments_that_the_kernel_gives(rootfs: Rootfs) -> None:
    assert rootfs.upper is not None
    for name, text in {"a": '#!/bin/sh -e \nprintf \'%s|\' "$0" "$@"; echo $-', "b": "#! /a  x y \n"}.items():
        Path(rootfs.upper, name).write_text(text)
        os.chmod(f"{rootfs.upper}/{name}", 0o755)
    with Running(config("sleep", "1000"), rootfs) as it:
        for path in ("/a", "/b"):
            by_kernel = one_exec_of(it.init.pid, "/bin/sh", "-c", f"exec {path} '1 2' 3")
            assert one_exec_of(it.init.pid, path, "1 2", "3") == by_kernel
            assert "1 2|3|" in by_kernel


def one_exec_of(pid: int, *args: str) -> str:
    out, into = os.pipe()
    init = execute(pid, config(*args)["process"], stdio=(-1, into, into))
    os.close(into)
    return bundle.finish(init, out)[1]


def test_a_hook_inside_is_not_the_hosts_interpreter(box: str) -> None:
    """The path of a startContainer hook is one of the image's."""
    with ocikit.runtime(box) as oci:
        own = oci.own_root()
        lay_trap(own)
        hooks = {"startContainer": [{"path": "/swap/evil"}]}
        error = oci.fails("run", "--bundle", oci.bundle("true", rootfs=own, hooks=hooks), "box")
        assert "leads through a magic link" in error


# --- it can't be opened ---

PROBE = (
    "cd /proc/{0} && for f in exe cwd root fd/0 fd/3 fd/4 map_files; do readlink $f && echo GOT $f; done; "
    "ls -l fd map_files | grep -- '->'; cat environ maps mem auxv 2>/dev/null | head -c 9; echo x > exe; "
    "cat exe | head -c 4; kill -0 {0} && echo end"
)


def inner_pid(pid: int) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    raise AssertionError(pid)


def test_a_process_on_its_way_in_is_closed_to_the_container(rootfs: Rootfs) -> None:
    """An exec that has joined all namespaces and not yet executed, looked at by root of the container."""
    with Running(config("sleep", "1000"), rootfs) as it:
        coming = execute(it.init.pid, config("sleep", "1000")["process"], stdio=(-1, -1, -1))
        try:
            coming.ready()
            text = one_exec_of(it.init.pid, "sh", "-c", PROBE.format(inner_pid(coming.pid)))
            assert text.rstrip().endswith("end"), text
            assert "GOT" not in text and "->" not in text and "ELF" not in text, text
            assert "ython" not in text, text
            coming.start()
            text = one_exec_of(it.init.pid, "sh", "-c", PROBE.format(inner_pid(coming.pid)))
            assert "/bin/busybox\nGOT exe" in text, text  # the probe would have seen it
        finally:
            with contextlib.suppress(ProcessLookupError):
                coming.signal(9)
            coming.wait()
            coming.close()


def test_no_moment_of_an_exec_is_open(rootfs: Rootfs) -> None:
    """Root of the container looks at every process that comes by, all the time. What it may meet is the file in
    memory by which a name is executed (byname.py), when the process is the container's already."""
    spy = (
        "cd /proc; echo up; while :; do for p in [0-9]*; do "
        "for f in $p/exe $p/cwd $p/root; do t=$(readlink $f) && "
        "case $t in /|/bin/busybox|/proc|/proc/*|'/memfd:command (deleted)') ;; *) echo GOT $f $t;; esac; done; done; done"
    )
    with Running(config("sh", "-c", spy), rootfs) as it:
        it.read("up\n")
        for _ in range(30):
            assert one_exec_of(it.init.pid, "echo", "x") == "x\n"
        os.set_blocking(it.out, False)
        with contextlib.suppress(BlockingIOError):
            assert b"GOT" not in (found := os.read(it.out, 65536)), found


def test_pid_one_that_stays_is_closed_to_the_container(rootfs: Rootfs) -> None:
    text = bundle.run(config("sh", "-c", PROBE.format(1)), rootfs, init=True)[1]
    assert text.rstrip().endswith("end"), text
    assert "GOT" not in text and "->" not in text and "ELF" not in text and "ython" not in text, text


def test_a_created_container_that_shares_its_pids_is_closed_to_the_others(rootfs: Rootfs, box: str) -> None:
    """Before its start a new container's init is visible in the pid namespace that it joins."""
    with Running(config("sleep", "1000"), rootfs) as it, bundle.layered(box) as second:
        spec: dict[str, Any] = config("sleep", "1000")
        spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "pid"]
        spec["linux"]["namespaces"].append({"type": "pid", "path": f"/proc/{it.init.pid}/ns/pid"})
        coming = container.create(spec, second, id="second", stdio=(-1, -1, -1))
        try:
            coming.ready()
            text = one_exec_of(it.init.pid, "sh", "-c", PROBE.format(inner_pid(coming.pid)))
            assert text.rstrip().endswith("end") and "GOT" not in text and "ELF" not in text, text
        finally:
            coming.close()


def test_the_monitor_is_not_in_the_containers_pid_namespace() -> None:
    with host() as engine:
        engine.estiva("run", "-d", "--name", "box", "--network", "none", IMAGE, "sleep", "1000")
        assert eventually(lambda: engine.out("exec", "box", "ls", "/proc").split())[:1] == ["1"]
        names = engine.out("exec", "box", "sh", "-c", "cat /proc/[0-9]*/comm").split()
        assert not [name for name in names if "python" in name or "estiva" in name or name == "dash"]


# --- a container that may trace ---


def interpreters(init: int, one: Callable[[], Any]) -> list[bool]:
    """While `one` is done again and again: of each of our processes met in the pid namespace of `init`, whether
    the file that it runs is on a read-only mount. (Writing to it is no proof: it is busy either way.)"""
    inside = os.readlink(f"/proc/{init}/ns/pid")
    met: list[bool] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    exe = f"/proc/{pid}/exe"
                    if os.readlink(f"/proc/{pid}/ns/pid") == inside and os.path.samefile(exe, OURS):
                        sealed = bool(os.statvfs(exe).f_flag & os.ST_RDONLY)
                        if os.path.samefile(exe, OURS):
                            met.append(sealed)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(60):
            one()
            if len(met) > 3:
                break
    finally:
        stop.set()
        thread.join()
    if not met:
        pytest.skip("no process was met at the right moment")
    return met


def test_the_interpreter_is_sealed_for_who_may_trace(box: str) -> None:
    """CAP_SYS_PTRACE opens /proc/PID/exe of processes that aren't dumpable: it must be on a read-only mount."""
    with host() as engine:
        engine.estiva("run", "-d", "--name", "spy", "--cap-add", "SYS_PTRACE", *NONE, IMAGE, "sleep", "1000")
        pid = int(engine.out("inspect", "-f", "{{.State.Pid}}", "spy"))
        assert all(interpreters(pid, lambda: engine.estiva("exec", "spy", "true")))
    with ocikit.runtime(box) as oci:

        def change(spec: dict[str, Any]) -> None:
            for names in spec["process"]["capabilities"].values():
                names.append("CAP_SYS_PTRACE")

        oci("run", "--detach", "--bundle", oci.bundle("sleep", "1000", change=change), "spy")
        assert all(interpreters(oci.state("spy")["pid"], lambda: oci("exec", "spy", "true")))


def test_the_monitor_of_who_may_trace_keeps_running_the_interpreter() -> None:
    """So that no write to it is possible while the container lives: the kernel says ETXTBSY."""
    with host() as engine:
        for options, stays in (((), False), (("--cap-add", "SYS_PTRACE"), True)):
            engine.estiva("run", "-d", "--name", "box", *options, "--network", "none", IMAGE, "sleep", "1000")
            pid = int(engine.out("inspect", "-f", "{{.State.Pid}}", "box"))
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

            def runs_python(monitor: int = parent) -> bool:
                return "python" in os.readlink(f"/proc/{monitor}/exe")

            if stays:
                engine.estiva("exec", "box", "sleep", "1.5")  # five times the quiet after which others doze
                assert runs_python()
            elif os.path.exists("/bin/dash"):
                with contextlib.suppress(AssertionError):  # where the kernel can't, none dozes
                    eventually(lambda: not runs_python(), 5)
            engine.estiva("rm", "-f", "box")
