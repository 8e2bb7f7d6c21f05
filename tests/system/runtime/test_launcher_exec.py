"""exec.execute on the real kernel: a further process in a running container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import bundle
from bundle import Running, config, requires_kernel
from estiva.errors import CommandNotFound, Conflict, InvalidInput
from estiva.runtime.launch.exec import execute
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel


@pytest.fixture
def it(rootfs: Rootfs) -> Iterator[Running]:
    with Running(config("sleep", "100"), rootfs) as running:
        yield running


def run(it: Running, *args: str, **process: Any) -> tuple[int, str]:
    out, into = os.pipe()
    try:
        init = execute(it.init.pid, config(*args, **process)["process"], stdio=(-1, into, into))
    finally:
        os.close(into)
    return bundle.finish(init, out)


def test_is_inside(it: Running) -> None:
    own = [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "pid_for_children", "net")]
    script = (
        "ps; hostname; pwd; for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; exit 9"
    )
    status, text = run(it, "sh", "-c", script, cwd="/tmp")
    assert status == 9
    assert "1 root     sleep 100" in text and "box\n/tmp\n" in text
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{it.init.pid}/ns/{name}") in text
    assert own == [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "pid_for_children", "net")]


def test_has_the_same_limits(it: Running) -> None:
    text = run(it, "grep", "-E", "Cap(Inh|Eff|Bnd|Amb)", "/proc/self/status")[1]
    zero, ours = "0" * 16, "00000000a80425fb"
    assert text.split() == ["CapInh:", zero, "CapEff:", ours, "CapBnd:", ours, "CapAmb:", zero]


def test_user_environment_and_errors(it: Running) -> None:
    text = run(it, "sh", "-c", "id; echo $HOME", user={"username": "ada"})[1]
    assert text == "uid=1000(ada) gid=1000(ada) groups=4(adm),1000(ada)\n/home/ada\n"
    with pytest.raises(CommandNotFound):
        run(it, "nope")
    with pytest.raises(InvalidInput):
        run(it, "id", user={"username": "eve"})


def test_terminal(it: Running) -> None:
    process = config("sh", "-c", "tty; stty size", terminal=True)["process"]
    process["consoleSize"] = {"height": 20, "width": 60}
    init = execute(it.init.pid, process, stdio=(-1, -1, -1))
    try:
        init.ready()
        init.start()
        assert bundle.drain(os.dup(init.console)) == b"/dev/pts/0\r\n20 60\r\n"
    finally:
        init.wait()
        init.close()


def test_a_container_that_is_gone(rootfs: Rootfs) -> None:
    with Running(config("true"), rootfs) as it:
        it.init.wait()
        with pytest.raises(Conflict, match="its container is not running"):
            execute(it.init.pid, config("id")["process"])
