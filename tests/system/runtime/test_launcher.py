"""container.create on the real kernel: what a container sees, gets and leaves behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import bundle
from bundle import config, requires_kernel, run
from estiva.errors import CommandNotExecutable, CommandNotFound, EngineError, InvalidInput, LimitRefused
from estiva.runtime.launch import container
from estiva.runtime.rootfs.rootfs import Rootfs
from estiva.runtime.sync import StepFailed

pytestmark = requires_kernel


def fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_runs_in_namespaces_of_its_own(rootfs: Rootfs) -> None:
    status, text = run(config("sh", "-c", "for n in /proc/self/ns/*; do readlink $n; done; exit 7"), rootfs)
    inside = set(text.split())
    for name in ("pid", "net", "ipc", "uts", "mnt", "cgroup"):
        assert os.readlink(f"/proc/self/ns/{name}") not in inside
    assert os.readlink("/proc/self/ns/user") in inside
    assert status == 7


def test_is_pid_one_with_its_hostname(rootfs: Rootfs) -> None:
    assert run(config("sh", "-c", "echo $$; hostname"), rootfs) == (0, "1\nbox\n")


def test_leaves_nothing_on_the_host(rootfs: Rootfs) -> None:
    def mounts() -> list[str]:  # ours: other tests mount layers of their own meanwhile
        place = os.path.dirname(str(rootfs.upper))
        return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if place in line]

    before = mounts(), fds(), os.getcwd(), os.umask(0o22)
    os.umask(before[3])
    assert run(config("true"), rootfs)[0] == 0
    after = mounts(), fds(), os.getcwd(), os.umask(0o22)
    os.umask(after[3])
    assert before == after
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_writes_go_to_the_upper_directory(rootfs: Rootfs, box: str) -> None:
    assert run(config("sh", "-c", "echo hello > /tmp/x; rm /etc/group"), rootfs)[0] == 0
    assert rootfs.upper is not None
    assert Path(rootfs.upper, "tmp/x").read_text() == "hello\n"
    assert Path(box, "etc/group").exists()


def test_a_plain_directory_as_root(box: str) -> None:
    status, text = run(config("sh", "-c", "ls /; touch /x"), Rootfs(path=box, readonly=True))
    assert status == 1
    assert "busybox" not in text and "bin" in text and "Read-only file system" in text


def test_read_only_root_with_its_mounts_writable(rootfs: Rootfs) -> None:
    rootfs.readonly = True
    status, text = run(config("sh", "-c", "touch /dev/shm/x && touch /x"), rootfs)
    assert status == 1
    assert "/x: Read-only" in text and "shm" not in text


def test_devices(rootfs: Rootfs) -> None:
    script = "stat -c '%n %t,%T %a' /dev/*; echo x > /dev/null; head -c 4 /dev/zero | wc -c; "
    script += "readlink /dev/fd; readlink /dev/ptmx"
    text = run(config("sh", "-c", script), rootfs)[1]
    assert "/dev/null 1,3 666" in text and "/dev/urandom 1,9 666" in text and "/dev/tty 5,0 666" in text
    assert text.endswith("4\n/proc/self/fd\npts/ptmx\n")


def test_more_devices(rootfs: Rootfs) -> None:
    spec = config("stat", "-c", "%t,%T %a %u %g", "/dev/sub/loopy")
    spec["linux"]["devices"] = [
        {"path": "/dev/sub/loopy", "type": "b", "major": 7, "minor": 9, "fileMode": 0o640, "uid": 3, "gid": 4}
    ]
    assert run(spec, rootfs) == (0, "7,9 640 3 4\n")


def test_bind_mounts(rootfs: Rootfs, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").write_text("content\n")
    spec = config("sh", "-c", "cat /a/file /new/dir/f; touch /a/x; touch /ro/x; mount | grep -E ' /(ro|a) '")
    spec["mounts"] += [
        {"destination": "/a", "source": str(tmp_path), "options": ["rbind", "rprivate"]},
        {"destination": "/ro", "source": str(tmp_path), "options": ["rbind", "ro", "nosuid"]},
        {"destination": "/new/dir/f", "type": "bind", "source": str(tmp_path / "file"), "options": ["bind"]},
    ]
    text = run(spec, rootfs)[1]
    assert text.startswith("content\ncontent\n")
    assert (tmp_path / "x").exists()
    assert "touch: /ro/x: Read-only file system" in text
    assert "on /ro type" in text and "(ro,nosuid," in text


def test_recursive_read_only(rootfs: Rootfs, tmp_path: Path) -> None:
    spec = config("sh", "-c", "touch /a/inner/x")
    (tmp_path / "inner").mkdir()
    spec["mounts"] += [
        {"destination": "/b", "source": str(tmp_path), "options": ["rbind"]},
        {"destination": "/b/inner", "type": "tmpfs", "source": "tmpfs"},
    ]
    # A tree of two mounts is needed as the source: make it in a directory of the container's own namespace.
    spec["mounts"].append({"destination": "/a", "source": "/proc", "options": ["rbind", "rro"]})
    spec["process"]["args"] = ["sh", "-c", "mount | grep ' /a' | grep -v 'ro,'; touch /b/inner/x"]
    assert run(spec, rootfs) == (0, "")


def test_a_volume_subpath_stays_inside(rootfs: Rootfs, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("inner\n")
    (tmp_path / "out").symlink_to("/etc")
    mount = {"destination": "/v", "source": str(tmp_path), "options": ["rbind", "X-estiva.subpath=in"]}
    spec = config("cat", "/v/f")
    spec["mounts"].append(mount)
    assert run(spec, rootfs) == (0, "inner\n")
    mount["options"] = ["rbind", "X-estiva.subpath=out"]
    with pytest.raises(StepFailed) as caught:
        run(spec, rootfs)
    assert caught.value.errno == 2  # /etc of the volume, which has none


def test_mount_targets_through_dangling_links(rootfs: Rootfs, tmp_path: Path) -> None:
    assert rootfs.upper is not None
    os.mkdir(f"{rootfs.upper}/etc")
    os.symlink("/run/resolve/stub", f"{rootfs.upper}/etc/resolv.conf")
    (tmp_path / "resolv").write_text("nameserver 192.0.2.1\n")
    spec = config("cat", "/etc/resolv.conf", "/run/resolve/stub")
    spec["mounts"].append(
        {"destination": "/etc/resolv.conf", "source": str(tmp_path / "resolv"), "options": ["bind"]}
    )
    assert run(spec, rootfs) == (0, "nameserver 192.0.2.1\n" * 2)


def test_process_settings(rootfs: Rootfs) -> None:
    spec = config(
        "sh",
        "-c",
        "pwd; umask; ulimit -n; cat /proc/self/oom_score_adj; grep NoNew /proc/self/status; env",
        cwd="/made/for it",
        user={"uid": 0, "gid": 0, "umask": 0o27},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}],
        oomScoreAdj=321,
        noNewPrivileges=True,
        env=[bundle.PATH, "A=1", "A=2", "HOME=/here", "nonsense"],
    )
    text = run(spec, rootfs)[1]
    assert text.startswith("/made/for it\n0027\n77\n321\nNoNewPrivs:\t1\n")
    assert "A=2\n" in text and "A=1" not in text and "HOME=/here\n" in text and "nonsense" not in text


def test_sysctls(rootfs: Rootfs) -> None:
    spec = config("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax")
    spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "81", "kernel.msgmax": "12345"}
    assert run(spec, rootfs) == (0, "81\n12345\n")
    spec["linux"]["sysctl"] = {"kernel.panic": "1"}
    with pytest.raises(InvalidInput, match="the sysctl kernel.panic is the machine's"):
        run(spec, rootfs)


def test_signals_are_as_by_default(rootfs: Rootfs) -> None:
    former = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        text = run(config("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"), rootfs)[1]
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert text == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"


def test_a_script_gets_its_arguments(rootfs: Rootfs) -> None:
    assert rootfs.upper is not None
    Path(rootfs.upper, "script").write_text('#!/bin/sh -e\necho "$0 $*"\n')
    os.chmod(f"{rootfs.upper}/script", 0o755)
    assert run(config("/script", "one", "two"), rootfs) == (0, "/script one two\n")


def test_death_by_a_signal_is_told(rootfs: Rootfs) -> None:
    with bundle.Running(config("sleep", "100"), rootfs) as it:
        it.init.signal(9)
        assert os.waitstatus_to_exitcode(it.init.wait()) == -9


def test_only_go_starts_it(rootfs: Rootfs) -> None:
    assert rootfs.upper is not None
    init = container.create(config("touch", "/tmp/ran"), rootfs, id="x", stdio=(-1, -1, -1))
    init.ready()
    time.sleep(0.05)
    init._channel.close()  # what the death of the parent does
    status = init.wait()
    init.close()
    assert os.waitstatus_to_exitcode(status) == 1
    assert not os.path.exists(f"{rootfs.upper}/tmp/ran")


def test_close_before_start_reaps(rootfs: Rootfs) -> None:
    before = fds()
    init = container.create(config("true"), rootfs, id="x", stdio=(-1, -1, -1))
    init.close()
    assert fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(init.pid, os.WNOHANG)


def test_terminal(rootfs: Rootfs) -> None:
    spec = config(
        "sh",
        "-c",
        "tty; stty size; ls /dev/console; test -t 0 && echo yes; cat /dev/tty & sleep 0.1; kill %1",
        terminal=True,
    )
    spec["process"]["consoleSize"] = {"height": 33, "width": 77}
    init = container.create(spec, rootfs, id="x", stdio=(-1, -1, -1))
    try:
        init.ready()
        assert init.console >= 0
        init.start()
        text = bundle.drain(os.dup(init.console)).decode()
        assert os.WIFEXITED(init.wait())
    finally:
        init.close()
    name, _, rest = text.partition("\r\n")
    assert name in ("/dev/console", "/dev/pts/0")
    assert rest.startswith("33 77\r\n/dev/console\r\nyes\r\n")


def test_terminal_belongs_to_the_user(rootfs: Rootfs) -> None:
    spec = config("sh", "-c", "stat -c '%u %g' /dev/pts/0; echo x > /dev/stdout", terminal=True)
    spec["process"]["user"] = {"username": "ada"}
    init = container.create(spec, rootfs, id="x", stdio=(-1, -1, -1))
    try:
        init.ready()
        init.start()
        assert bundle.drain(os.dup(init.console)) == b"1000 5\r\nx\r\n"
    finally:
        init.wait()
        init.close()


def test_preserved_fds(rootfs: Rootfs) -> None:
    """fd 3 is passed on as it is; nothing else is."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open("/etc/hostname", os.O_RDONLY), 3)
            status, text = run(
                config("sh", "-c", "ls /proc/self/fd | tr '\n' ' '; cat <&3"), rootfs, preserve_fds=1
            )
            good = Path("/etc/hostname").read_text() in text and status == 0
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_joined_namespaces(rootfs: Rootfs) -> None:
    """Namespaces given by a path are shared, and the launcher is back in its own afterwards."""
    own = [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "pid_for_children", "uts", "ipc")]
    with bundle.Running(config("sleep", "100"), rootfs) as it, bundle.layered(rootfs.lowerdirs[0]) as second:
        spec = config(
            "sh", "-c", "hostname; ps; for n in net uts ipc pid; do readlink /proc/self/ns/$n; done"
        )
        del spec["hostname"]
        names = {"network": "net", "pid": "pid", "uts": "uts", "ipc": "ipc"}
        spec["linux"]["namespaces"] = [
            {"type": t, "path": f"/proc/{it.init.pid}/ns/{n}"} for t, n in names.items()
        ] + [{"type": "mount"}]
        status, text = run(spec, second)
        assert status == 0
        assert text.startswith("box\n") and "sleep 100" in text
        for name in names.values():
            assert os.readlink(f"/proc/{it.init.pid}/ns/{name}") in text
    assert own == [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "pid_for_children", "uts", "ipc")]


def test_host_namespaces(rootfs: Rootfs) -> None:
    spec = config("sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid")
    del spec["hostname"]
    spec["linux"]["namespaces"] = [{"type": "mount"}]
    text = run(spec, rootfs)[1]
    assert text.split() == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/pid")]


def test_user_namespace(rootfs: Rootfs) -> None:
    spec = config(
        "sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /dev/null && ls -l /dev/null; touch /dev/shm/x"
    )
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    assert rootfs.upper is not None
    for directory in ("", "/dev", "/proc", "/sys"):
        os.makedirs(rootfs.upper + directory, exist_ok=True)
        os.chown(rootfs.upper + directory, 200000, 200000)
    os.chmod(os.path.dirname(rootfs.upper), 0o700)  # the engine's own directories are root's alone
    status, text = run(spec, rootfs)
    assert (status, text.split()[:4]) == (0, ["0", "0", "200000", "65536"])
    assert "1,   3" in text


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        (["foo"], CommandNotFound, 'exec: "foo": executable file not found in $PATH'),
        (["/bin/foo"], CommandNotFound, 'exec: "/bin/foo": no such file or directory'),
        (["/etc"], CommandNotExecutable, 'exec: "/etc": is a directory'),
        (["/etc/passwd"], CommandNotExecutable, 'exec: "/etc/passwd": permission denied'),
        (["/script"], CommandNotFound, 'exec: "/script": its interpreter /bin/bash is not in the container'),
        (["/crlf"], CommandNotFound, 'exec: "/crlf": its first line asks for the interpreter "/bin/sh\\r"'),
        (["/text"], CommandNotExecutable, 'exec: "/text": exec format error: neither a program nor a script'),
        (
            ["/dyn"],
            CommandNotFound,
            'exec: "/dyn": its loader /lib64/ld-linux-x86-64.so.2 is not in the container',
        ),
        (["/arm"], CommandNotExecutable, 'exec: "/arm": it is built for aarch64, and this machine is x86_64'),
        (["/empty"], CommandNotExecutable, 'exec: "/empty": exec format error'),
    ],
)
@pytest.mark.parametrize("init", [False, True])
def test_what_cannot_be_executed(
    rootfs: Rootfs, args: list[str], kind: type[Exception], words: str, init: bool
) -> None:
    assert rootfs.upper is not None
    python = Path("/usr/bin/python3").read_bytes()
    files = {
        "script": b"#!/bin/bash\n",
        "crlf": b"#!/bin/sh\r\necho\r\n",
        "text": b"hello\n",
        "dyn": python,
        "arm": Path("/usr/bin/busybox").read_bytes()[:18] + b"\xb7\x00" + b"\0" * 100,
        "empty": b"",
    }
    name = args[0].lstrip("/")
    if name in files:
        Path(rootfs.upper, name).write_bytes(files[name])
        os.chmod(f"{rootfs.upper}/{name}", 0o755)
    if name in ("dyn", "arm") and os.uname().machine != "x86_64":
        pytest.skip("written for x86_64")
    with pytest.raises(kind) as caught:
        run(config(*args), rootfs, init=init)
    assert words in str(caught.value)


def test_an_error_of_a_step_arrives_whole(rootfs: Rootfs) -> None:
    spec = config("true")
    spec["mounts"].append({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["size=lots"]})
    with pytest.raises(StepFailed) as caught:
        run(spec, rootfs)
    error = caught.value
    assert (error.step, error.syscall, error.errno) == ("mount tmpfs at /x", "mount", 22)
    assert str(error) == "mount tmpfs at /x: mount /x: invalid argument for the options size=lots"


def test_a_missing_bind_source_is_named(rootfs: Rootfs) -> None:
    spec = config("true")
    spec["mounts"].append({"destination": "/x", "source": "/nowhere", "options": ["bind"]})
    with pytest.raises(
        EngineError, match="mount /nowhere at /x: open_tree /nowhere: no such file or directory"
    ):
        run(spec, rootfs)


def test_an_unknown_user_is_named(rootfs: Rootfs) -> None:
    with pytest.raises(InvalidInput, match="there is no user 'eve' in the image's /etc/passwd"):
        run(config("true", user={"username": "eve"}), rootfs)


def test_a_refused_limit_is_named(rootfs: Rootfs) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]
    with pytest.raises(LimitRefused, match="the kernel refuses the limit nofile=1099511627776"):
        run(config("true", rlimits=limits), rootfs)


def test_init_killed_while_building(rootfs: Rootfs) -> None:
    for _ in range(100):
        init = container.create(config("true"), rootfs, id="x", stdio=(-1, -1, -1))
        init.signal(9)
        try:
            init.ready()  # it was faster than we
        except EngineError as error:
            assert "killed by signal 9 while starting" in str(error)
            return
        finally:
            init.close()
    raise AssertionError("none was caught while it built")
