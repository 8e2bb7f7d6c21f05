"""Configs that are wrong, mount options, and small parsers of the launcher."""

from __future__ import annotations

from typing import Any

import pytest

from bundle import config
from estiva.errors import EstivaError, InvalidInput, Unsupported
from estiva.linux import mount as mnt
from estiva.runtime import state
from estiva.runtime.launch.plan import Plan, Process
from estiva.runtime.process import command
from estiva.runtime.rootfs import mount_plan, protect
from estiva.runtime.rootfs.rootfs import Rootfs


def plan(spec: dict[str, Any]) -> Plan:
    process = Process(spec["process"], stdio=(0, 1, 2), bpf=None)
    return Plan(spec, Rootfs(path="/"), process, cgroup=None, init=False)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("process.args", [], "no command was given"),
        ("process.args", [""], "no command was given"),
        ("process.args", ["a\0b"], "NUL"),
        ("process.cwd", "tmp", "not an absolute path"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "moon"}], "'moon' is not a kind of namespace"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], "given twice"),
        ("linux.namespaces", [{"type": "mount"}], "hostname can't be set"),
        (
            "linux.namespaces",
            [{"type": "mount", "path": "x"}],
            "linux.namespaces[0].path: 'x' is not an absolute",
        ),
        ("linux.namespaces", [{"type": t} for t in ("uts", "user")], "the host's mount namespace"),
        ("linux.namespaces", [{"type": t} for t in ("mount", "uts", "user")], "needs uidMappings"),
        ("linux.personality", {"domain": "BSD"}, "'BSD' is not a personality"),
        ("linux.sysctl", {"net/../kernel/panic": "1"}, "is not the name of a sysctl"),
        ("mounts", [{"type": "tmpfs"}], "no destination"),
        ("mounts", [{"destination": "/x", "options": ["bind"]}], "has no source"),
        (
            "mounts",
            [{"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}],
            "tmpcopyup is for a tmpfs",
        ),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}], "only a bind mount"),
        (
            "mounts",
            [{"destination": "/", "source": "/x", "uidMappings": [{"size": 1}]}],
            "gidMappings is missing",
        ),
        ("linux.uidMappings", [{"containerID": 0, "hostID": -1, "size": 1}], "linux.uidMappings[0]"),
    ],
)
def test_a_wrong_config_is_an_error_before_anything_is_made(path: str, value: Any, words: str) -> None:
    spec = config("true")
    where = spec
    *keys, last = path.split(".")
    for key in keys:
        where = where[key]
    where[last] = value
    with pytest.raises((InvalidInput, Unsupported)) as caught:
        plan(spec)
    assert words in str(caught.value)


def test_a_sysctl_of_a_shared_namespace_is_refused() -> None:
    with pytest.raises(InvalidInput, match="while the network namespace is the host's"):
        protect.plan_sysctls({"net.core.somaxconn": "1"}, {"ipc"})


def test_sysctl_names() -> None:
    names = {
        "net.ipv4.conf.eth0/1.forwarding": "1",
        "net/ipv4/conf/eth0.1/forwarding": "1",
        "kernel.sem": "1",
    }
    paths = [path for path, _ in protect.plan_sysctls(names, {"network", "ipc"})]
    assert paths == ["net/ipv4/conf/eth0.1/forwarding"] * 2 + ["kernel/sem"]


def one(*options: str, **fields: Any) -> mount_plan.Mount:
    entry: dict[str, Any] = {"destination": "/x", "source": "/s", "options": list(options)} | fields
    return mount_plan.plan([entry])[0]


def test_mount_options() -> None:
    mount = one("nosuid", "noexec", "ro", "size=5m", "mode=755", type="tmpfs")
    assert (mount.bind, mount.data) == (False, ["size=5m", "mode=755"])
    assert mount.flags == mnt.MS_NOSUID | mnt.MS_NOEXEC | mnt.MS_RDONLY
    mount = one("rbind", "ro", "rslave", "x-whatever", "nodev", "dev")
    assert mount.bind and mount.recursive and mount.propagation == mnt.MS_SLAVE | mnt.MS_REC
    assert mount.set == mnt.MOUNT_ATTR_RDONLY and mount.clear == mnt.MOUNT_ATTR_NODEV
    mount = one("bind", "rro", "noatime")
    assert (mount.set_all, mount.recursive) == (mnt.MOUNT_ATTR_RDONLY, False)
    assert (mount.set, mount.clear) == (mnt.MOUNT_ATTR_NOATIME, mnt.MOUNT_ATTR__ATIME)
    assert one("rrelatime", "rbind").clear_all == mnt.MOUNT_ATTR__ATIME


def test_environment() -> None:
    assert command.environment(["A=1", "B=x=y", "A=2", "C", "=x", "D="]) == {
        b"A": b"2",
        b"B": b"x=y",
        b"D": b"",
    }


@pytest.mark.parametrize(
    ("header", "interpreter"),
    [
        (b"#!/bin/sh\n", ["/bin/sh"]),
        (b"#! \t/bin/sh -e \t -x \t\nx", ["/bin/sh", "-e \t -x"]),
        (b"#!/bin/sh\r\n", ["/bin/sh\r"]),
        (b"#!\n/bin/sh", []),
        (b"#! \t\n", []),
        (b"x", []),
        (b"#!/bin/sh", ["/bin/sh"]),
        (b"#!/bin/sh\0 x\n", ["/bin/sh"]),
    ],
)
def test_shebang(header: bytes, interpreter: list[str]) -> None:
    assert command._shebang(header) == interpreter


def test_malformed_elf_headers_are_harmless(tmp_path: Any) -> None:
    import os

    for tail in (
        b"",
        b"\x02",
        b"\x02\x01" + b"\xff" * 58,
        b"\x01\x02" + b"\xff" * 58,
        b"\x02\x01" + b"\0" * 58,
    ):
        path = tmp_path / "elf"
        path.write_bytes(b"\x7fELF" + tail)
        fd = os.open(path, os.O_RDONLY)
        assert command._loader(fd, b"\x7fELF" + tail) == ""
        os.close(fd)


def test_state(tmp_path: Any) -> None:
    import os

    from estiva.linux import process

    run_dir = str(tmp_path / "c" / "id")
    assert state.read(run_dir) is None
    state.write(run_dir, {"pid": 5, "name": "ü"})
    assert state.read(run_dir) == {"pid": 5, "name": "ü"}
    assert os.stat(run_dir).st_mode & 0o777 == 0o700
    assert os.stat(run_dir + "/state.json").st_mode & 0o777 == 0o600
    (tmp_path / "c" / "id" / "state.json").write_text("[")
    with pytest.raises(EstivaError):
        state.read(run_dir)
    assert state.alive(os.getpid(), process.start_time(os.getpid()))
    assert not state.alive(os.getpid(), 1)
    assert not state.alive(0, 1)
    assert not state.alive(1 << 22, 1)


def test_a_zombie_is_not_alive() -> None:
    import os

    from estiva.linux import process

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not state.alive(pid, process.start_time(pid))
    os.waitpid(pid, 0)
