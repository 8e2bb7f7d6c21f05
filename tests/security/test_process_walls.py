"""K3, K6, K7, K17, K18 as users start things: run, exec, build's RUN and estiva-oci."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bundle
import ocikit
import rawelf
from bundle import Running, config, requires_kernel
from enginekit import IMAGE, Host, host
from estiva.errors import EstivaError, InvalidInput
from estiva.runtime.launch.exec import execute
from estiva.runtime.process import user
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel
pytest_plugins = ["bundle"]

NONE = ("--network", "none")
LEAKS = "cd /proc/self/fd; for f in *; do readlink $f; done; true"


@pytest.fixture(scope="module")
def engine() -> Iterator[Host]:
    with host() as made:
        made.estiva("run", "-d", "--name", "stays", *NONE, IMAGE, "sleep", "100000")
        yield made
        made.estiva("rm", "-f", "stays")


# --- K3: file descriptors and the working directory (CVE-2024-21626, CVE-2016-9962) ---


def test_fds_of_the_caller_do_not_come_along(engine: Host, box: str, tmp_path: Path) -> None:
    """The caller has a directory of the host open, not close-on-exec, under many numbers."""
    secret = str(tmp_path)
    held = [os.open(secret, os.O_RDONLY) for _ in range(12)]
    for fd in held:
        os.set_inheritable(fd, True)
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN {LEAKS}\nRUN echo built\n")
    try:
        import subprocess

        def words(*command: str, env: dict[str, str], prefix: list[str]) -> str:
            done = subprocess.run(
                [*prefix, *command], env=env, capture_output=True, text=True, close_fds=False, timeout=60
            )
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        from enginekit import ESTIVA

        for verb in (
            ("run", "--rm", *NONE, IMAGE),
            ("run", "--rm", "--init", *NONE, IMAGE),
            ("exec", "stays"),
        ):
            text = words(ESTIVA, *verb, "sh", "-c", LEAKS, env=engine.env, prefix=engine.prefix)
            assert secret not in text and "/root" not in text, text
        text = words(ESTIVA, "build", "--network=none", secret, env=engine.env, prefix=engine.prefix)
        assert "built" in text and f"{secret}\n" not in text, text
        with ocikit.runtime(box) as oci:
            for verb in (("run", "--bundle", oci.bundle("sh", "-c", LEAKS), "one"),):
                text = words(ocikit.PROGRAM, *verb, env=oci.env, prefix=[])
                assert secret not in text, text
            oci("run", "--detach", "--bundle", oci.bundle("sleep", "1000"), "two")
            text = words(ocikit.PROGRAM, "exec", "two", "sh", "-c", LEAKS, env=oci.env, prefix=[])
            assert secret not in text, text
    finally:
        for fd in held:
            os.close(fd)


@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/proc/self/fd/{}/../..", "/proc/1/fd/{}", "/link/{}"])
def test_no_number_leads_the_working_directory_out(rootfs: Rootfs, path: str) -> None:
    """WORKDIR /proc/self/fd/N, for every N, when run and when executed, while the engine has much open."""
    assert rootfs.upper is not None
    os.symlink("/proc/self/fd", f"{rootfs.upper}/link")
    held = [os.open("/", os.O_RDONLY) for _ in range(5)]
    try:
        with Running(config("sleep", "1000"), rootfs) as it:
            for number in range(3, 16):
                where = path.format(number)
                for inside in (False, True):
                    out, into = os.pipe()
                    process = config("ls", cwd=where)
                    try:
                        if inside:
                            init = execute(it.init.pid, process["process"], stdio=(-1, into, into))
                        else:
                            init = bundle.container.create(process, rootfs, id="x", stdio=(-1, into, into))
                        os.close(into)
                        text = bundle.finish(init, out)[1]
                        raise AssertionError(f"{where} was entered: {text}")
                    except EstivaError:
                        os.close(out)
    finally:
        for fd in held:
            os.close(fd)


# --- K6: capabilities (CVE-2022-29162, CVE-2022-24769, CVE-2022-27649, CVE-2022-27651) ---


def sets(text: str) -> dict[str, int]:
    found = {line[3:6]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
    assert len(found) == 5, text
    return found


@pytest.mark.parametrize("inside", ["run", "exec", "oci run", "oci exec"])
@pytest.mark.parametrize(
    "options",
    [(), ("-u", "1000"), ("--privileged",), ("--privileged", "-u", "1000"), ("--cap-add", "ALL"),
     ("--cap-add", "SYS_ADMIN", "-u", "1000"), ("--cap-drop", "ALL", "--cap-add", "CHOWN")],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_inheritable_or_ambient(
    engine: Host, box: str, options: tuple[str, ...], inside: str
) -> None:
    read = ("grep", "Cap", "/proc/self/status")
    if inside == "run":
        found = sets(engine.out("run", "--rm", *NONE, *options, IMAGE, *read))
    elif inside == "exec":
        if "--cap-add" in options or "--cap-drop" in options:
            engine.estiva("run", "-d", "--name", "caps", *NONE, *options, IMAGE, "sleep", "1000")
            found = sets(engine.out("exec", "caps", *read))
            engine.estiva("rm", "-f", "caps")
        else:
            found = sets(engine.out("exec", *options, "stays", *read))
    else:
        if options not in ((), ("-u", "1000")):
            pytest.skip("a bundle says its sets itself")
        who = {"user": {"uid": 1000, "gid": 1000}} if options else {}
        with ocikit.runtime(box) as oci:
            if inside == "oci run":
                found = sets(oci("run", "--bundle", oci.bundle(*read, **who), "caps"))
            else:
                oci("run", "--detach", "--bundle", oci.bundle("sleep", "1000"), "caps")
                found = sets(oci("exec", *(("--user", "1000") if options else ()), "caps", *read))
    assert found["Inh"] == found["Amb"] == 0
    if "-u" in options:
        assert found["Prm"] == found["Eff"] == 0
    if "--privileged" not in options and "ALL" not in options and "SYS_ADMIN" not in options:
        assert found["Bnd"] == 0xA80425FB
    if options[:2] == ("--cap-drop", "ALL"):
        assert found["Bnd"] == found["Prm"] == 1


# --- K7: users ---


@pytest.mark.parametrize(
    "text",
    [
        "4294967295",
        "4294967296",
        "4294967294",
        "2147483648",
        "-1",
        "+1",
        "0x1",
        "1e3",
        "00x",
        "1_0",
        "٣",
        "²",
    ],
)
def test_an_odd_user_never_becomes_another(engine: Host, text: str) -> None:
    for verb in (("run", "--rm", *NONE, f"--user={text}", IMAGE), ("exec", f"--user={text}", "stays")):
        done = engine.estiva(*verb, "id", status=None)
        assert done.returncode != 0 and "uid=" not in done.stdout, (text, done)
        group = engine.estiva(*[w.replace("--user=", "--user=0:") for w in verb], "id", status=None)
        assert group.returncode != 0 and "uid=" not in group.stdout, (text, group)


def put_database(root: Path, kind: str, name: str) -> None:
    where = root / "etc" / name
    where.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(where)
    elif kind == "device":
        os.mknod(where, 0o20666, os.makedev(1, 5))  # zero: endless
    elif kind == "directory":
        where.mkdir()
    elif kind == "dangling":
        os.symlink("/nowhere/at/all", where)
    elif kind == "host":
        os.symlink("../../../../../../../../../etc/" + name, where)
    elif kind == "magic":
        os.symlink("/proc/1/root/etc/" + name, where)
    elif kind.startswith("/"):
        os.symlink(kind, where)
    elif kind == "loop":
        os.symlink(name, where)
    elif kind == "long line":
        where.write_bytes(b"x" * (3 << 20) + b":x:0:0::/:\n")
    elif kind == "nul":
        where.write_bytes(b"eve\0:x:0:0::/:\nbob:x:0\0:0:\n:::::\n\0\0\0\n" + b":" * 5000)
    elif kind == "many":
        where.write_text("".join(f"u{n}:x:{n}:{n}:u{n - 1},eve,u{n}:/:\n" for n in range(60000)))


@pytest.mark.parametrize(
    "kind",
    ["fifo", "device", "directory", "dangling", "host", "magic", "loop", "long line", "nul", "many",
     "/proc/kallsyms", "/proc/kmsg", "/sys/kernel/notes", "/dev/pts/ptmx"],
)  # fmt: skip
def test_databases_that_are_none(tmp_path: Path, kind: str) -> None:
    """A uid works whatever they are; a name that only the host has, or none, is an error; nothing hangs."""
    root = Path(bundle.make_root(str(tmp_path / "root")))
    for name in ("passwd", "group"):
        put_database(root, kind, name)
    fd = os.open(root, os.O_PATH)
    try:
        identity = user.resolve(fd, {"username": "7:8"}, need_home=True)
        assert (identity.uid, identity.gid) == (7, 8)
        if kind != "host":  # inside, that link leads to itself
            with pytest.raises(InvalidInput):
                user.resolve(fd, {"username": "daemon"}, need_home=True)
        with pytest.raises(InvalidInput):
            user.resolve(fd, {"username": "0:daemon"}, need_home=True)
    finally:
        os.close(fd)
    with bundle.layered(str(root)) as rootfs, Running(config("sleep", "1000"), rootfs) as it:
        for words in ({"username": "7:8"}, {"username": "daemon"}):
            out, into = os.pipe()
            process = config("grep", "Uid", "/proc/self/status", user=words)["process"]
            init = execute(it.init.pid, process, stdio=(-1, into, into))
            os.close(into)
            if words["username"] == "daemon":
                with pytest.raises(EstivaError, match="no user 'daemon'"):
                    bundle.finish(init, out)
                os.close(out)
            else:
                assert bundle.finish(init, out) == (0, "Uid:\t7\t7\t7\t7\n")


def test_a_device_as_database_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device may act on it: only O_PATH touches what is no regular file."""
    root = Path(bundle.make_root(str(tmp_path / "root")))
    put_database(root, "fifo", "passwd")
    fd = os.open(root, os.O_PATH)
    reader = []
    try:
        import threading

        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    os.close(os.open(root / "etc" / "passwd", os.O_WRONLY | os.O_NONBLOCK))
                    reader.append(1)
                except OSError:
                    pass  # ENXIO: nobody has it open for reading

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            for _ in range(2000):
                assert user.read_database(fd, "/etc/passwd") == ""
        finally:
            stop.set()
            thread.join()
    finally:
        os.close(fd)
    assert not reader


# --- K17: cgroups (CVE-2022-0492, CVE-2023-25809) ---

CGROUPS = """
p=/sys/fs/cgroup
find $p -type d | head -50 | while read d; do
  for f in notify_on_release release_agent cgroup.procs tasks memory.max memory.limit_in_bytes cgroup.subtree_control
  do [ -e $d/$f ] && { echo 1 > $d/$f && echo WROTE $d/$f; }; done
  mkdir $d/mine && echo MADE $d/mine
done 2>/dev/null
find $p -name release_agent
cat /proc/self/cgroup
echo end
"""


@pytest.mark.parametrize("options", [(), ("--cap-add", "SYS_ADMIN"), ("-u", "1000")], ids=" ".join)
def test_cgroups_are_read_only_and_their_own(engine: Host, options: tuple[str, ...]) -> None:
    text = engine.out("run", "--rm", *NONE, *options, IMAGE, "sh", "-c", CGROUPS)
    assert text.endswith("end")
    lines = text.splitlines()[:-1]
    assert lines and all(line.endswith(":/") for line in lines), text  # no way above, and nothing was written


def test_a_hierarchy_that_is_mounted_anew_has_no_release_agent(engine: Host) -> None:
    """With CAP_SYS_ADMIN a container may mount: what it gets is its own part, without the root's files."""
    script = (
        "mkdir /c; for c in memory rdma pids cpu net_cls misc; do mount -t cgroup -o $c x /c 2>/dev/null || continue; "
        "ls /c | grep release_agent; umount /c; done; mount -t cgroup2 x /c 2>/dev/null && find /c -type d; "
        "mount -t cgroup -o none,name=evil,release_agent=/x x /c 2>/dev/null && echo MOUNTED; echo end"
    )
    text = engine.out("run", "--rm", "--cap-add", "SYS_ADMIN", *NONE, IMAGE, "sh", "-c", script)
    assert text.splitlines()[-1] == "end" and set(text.splitlines()) <= {"end", "/c"}, text


# --- K18: the filter, from inside ---

EPERM, ENOSYS, EAFNOSUPPORT = -errno.EPERM, -errno.ENOSYS, -errno.EAFNOSUPPORT
NEWUSER = 0x10000000
CALLS: list[tuple[str, Any, tuple[int, ...]]] = [
    ("unshare user", (272, NEWUSER), (EPERM,)),
    ("unshare mount", (272, 0x20000), (EPERM,)),
    ("clone user", (56, NEWUSER | 17, 0, 0, 0, 0), (EPERM,)),
    ("clone3", (435, 0, 0), (ENOSYS,)),
    ("mount", (165, b"x", b"/tmp", b"tmpfs", 0, 0), (EPERM,)),
    ("umount", (166, b"/proc", 2), (EPERM,)),
    ("pivot_root", (155, b"/", b"/"), (EPERM,)),
    ("open_tree", (428, -100, b"/", 1), (EPERM,)),
    ("fsopen", (430, b"tmpfs", 0), (EPERM,)),
    ("mount_setattr", (442, -100, b"/", 0, 0, 0), (EPERM,)),
    ("setns", (308, 0, 0), (EPERM,)),
    ("keyctl", (250, 0, -3, 0), (EPERM,)),
    ("add_key", (248, b"user", b"x", b"y", 1, -3), (EPERM,)),
    ("request_key", (249, b"user", b"x", 0, -3), (EPERM,)),
    ("bpf", (321, 0, 0, 0), (EPERM,)),
    ("perf_event_open", (298, 0, 0, -1, -1, 0), (EPERM,)),
    ("userfaultfd", (323, 0), (EPERM,)),
    ("io_uring_setup", (425, 8, rawelf.SCRATCH), (ENOSYS, EPERM)),
    ("io_uring_enter", (426, 0, 0, 0, 0), (ENOSYS, EPERM)),
    ("io_uring_register", (427, 0, 0, 0, 0), (ENOSYS, EPERM)),
    ("AF_ALG", (41, 38, 5, 0), (EAFNOSUPPORT,)),
    ("AF_VSOCK", (41, 40, 1, 0), (EAFNOSUPPORT,)),
    ("AF_VSOCK behind 32 bits", (41, 40 | 1 << 40, 1, 0), (EAFNOSUPPORT,)),
    ("personality", (135, 0x40000), (EPERM,)),
    ("init_module", (175, 0, 0, b""), (EPERM,)),
    ("finit_module", (313, 0, b"", 0), (EPERM,)),
    ("kexec_load", (246, 0, 0, 0, 0), (EPERM,)),
    ("open_by_handle_at", (304, 0, rawelf.SCRATCH, 0), (EPERM,)),
    ("quotactl", (179, 0x80000100, 0, 0, 0), (EPERM,)),
    ("swapon", (167, b"/x", 0), (EPERM,)),
    ("reboot", (169, 0, 0, 0, 0), (EPERM,)),
    ("settimeofday", (164, rawelf.SCRATCH, 0), (EPERM,)),
    ("acct", (163, 0), (EPERM,)),
    ("syslog", (103, 3, rawelf.SCRATCH, 10), (EPERM,)),
    ("of the future", (9999,), (ENOSYS,)),
    # The other two doors of x86_64: x32 and i386 numbers
    ("x32 getpid", (rawelf.X32 | 39,), (ENOSYS, EPERM)),
    ("x32 unshare", (rawelf.X32 | 272, NEWUSER), (ENOSYS, EPERM)),
    ("x32 mount", (rawelf.X32 | 165, b"x", b"/tmp", b"tmpfs", 0, 0), (ENOSYS, EPERM)),
    ("x32 io_uring_setup", (rawelf.X32 | 425, 8, rawelf.SCRATCH), (ENOSYS, EPERM)),
    ("i386 unshare", (rawelf.I386, 310, NEWUSER), (ENOSYS, EPERM)),
    ("i386 mount", (rawelf.I386, 21, b"x", b"/tmp", b"tmpfs", 0, 0), (ENOSYS, EPERM)),
    ("i386 clone user", (rawelf.I386, 120, NEWUSER | 17, 0, 0, 0, 0), (ENOSYS, EPERM)),
    ("i386 clone3", (rawelf.I386, 435, 0, 0), (ENOSYS,)),
    ("i386 keyctl", (rawelf.I386, 288, 0, -3, 0), (ENOSYS, EPERM)),
    ("i386 bpf", (rawelf.I386, 357, 0, 0, 0), (ENOSYS, EPERM)),
    ("i386 socket AF_ALG", (rawelf.I386, 359, 38, 5, 0), (ENOSYS, EAFNOSUPPORT)),
    ("i386 socketcall AF_ALG", (rawelf.I386, 102, 1, struct.pack("<3I", 38, 5, 0)), (ENOSYS, EAFNOSUPPORT)),
    ("i386 socketcall AF_VSOCK", (rawelf.I386, 102, 1, struct.pack("<3I", 40, 1, 0)), (ENOSYS, EAFNOSUPPORT)),
    ("i386 ipc of the future", (rawelf.I386, 9999), (ENOSYS,)),
    ("i386 io_uring_setup", (rawelf.I386, 425, 8, rawelf.SCRATCH), (ENOSYS, EPERM)),
]


@rawelf.requires_x86
@pytest.mark.parametrize("inside", ["run", "exec", "run as a user", "build"])
def test_what_the_filter_refuses(engine: Host, tmp_path: Path, inside: str) -> None:
    """One program makes every call and tells what each gave: it can't be compiled away."""
    probe = tmp_path / "probe"
    probe.write_bytes(rawelf.program([call for _, call, _ in CALLS]))
    probe.chmod(0o755)
    tmp_path.chmod(0o755)
    if inside == "exec":
        engine.estiva(
            "run", "-d", "--name", "seen", "-v", f"{probe}:/probe:ro", *NONE, IMAGE, "sleep", "1000"
        )
        output = engine.estiva("exec", "seen", "/probe", text=False).stdout
        engine.estiva("rm", "-f", "seen")
    elif inside == "build":
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY probe /probe\nRUN /probe > /said\n")
        engine.estiva("build", "--network=none", "-t", "probe:1", tmp_path)
        output = engine.estiva("run", "--rm", *NONE, "probe:1", "cat", "/said", text=False).stdout
    else:
        who = ("-u", "1000") if "user" in inside else ()
        words = ("run", "--rm", *who, "-v", f"{probe}:/probe:ro", *NONE, IMAGE, "/probe")
        output = engine.estiva(*words, text=False).stdout
    values, _ = rawelf.results(output, len(CALLS), bits=32)
    wrong = {
        name: value for (name, _, allowed), value in zip(CALLS, values, strict=True) if value not in allowed
    }
    assert not wrong


@rawelf.requires_x86
def test_the_same_program_without_the_filter(engine: Host, tmp_path: Path) -> None:
    """So the refusals above are the filter's."""
    probe = tmp_path / "probe"
    names = ("clone3", "AF_ALG", "x32 getpid", "keyctl", "personality", "io_uring_setup", "unshare user")
    chosen = [call for name, call, _ in CALLS if name in names]
    probe.write_bytes(rawelf.program(chosen))
    probe.chmod(0o755)
    options = ("--security-opt", "seccomp=unconfined", "-v", f"{probe}:/probe:ro", *NONE)
    output = engine.estiva("run", "--rm", *options, IMAGE, "/probe", text=False).stdout
    values, _ = rawelf.results(output, len(chosen), bits=32)
    refused = [allowed for name, _, allowed in CALLS if name in names]
    assert sum(value not in allowed for value, allowed in zip(values, refused, strict=True)) >= 4, values


@rawelf.requires_x86
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_bundles_filter_has_no_side_doors(box: str, verb: str) -> None:
    """A profile for x86_64 alone that forbids mkdir: neither x32 nor i386 may make one."""
    silent = "/probe > /dev/null"
    calls = [(83, b"/a", 0o755), (rawelf.X32 | 83, b"/b", 0o755), (rawelf.I386, 39, b"/c", 0o755)]
    with ocikit.runtime(box) as oci:
        for index, call in enumerate(calls):
            own = oci.own_root()
            Path(own, "probe").write_bytes(rawelf.program([call]))
            os.chmod(f"{own}/probe", 0o755)

            def change(spec: dict[str, Any]) -> None:
                rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
                spec["linux"]["seccomp"] = {
                    "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule],
                }  # fmt: skip

            name = f"box{index}"
            if verb == "run":
                oci.run("run", "--bundle", oci.bundle("sh", "-c", silent, rootfs=own, change=change), name)
            else:
                oci(
                    "run",
                    "--detach",
                    "--bundle",
                    oci.bundle("sleep", "1000", rootfs=own, change=change),
                    name,
                )
                oci.run("exec", name, "sh", "-c", silent)
            assert not {"a", "b", "c"} & set(os.listdir(own)), call
