"""--init: what pid 1 does while the command runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bundle
from bundle import config, requires_kernel, run
from enginekit import eventually
from estiva.runtime.launch import container
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel


@pytest.mark.parametrize(("script", "status"), [("exit 5", 5), ("kill -TERM $$", 143), ("true", 0)])
def test_ends_as_the_command_ends(rootfs: Rootfs, script: str, status: int) -> None:
    assert run(config("sh", "-c", f"echo $$; {script}"), rootfs, init=True) == (status, "2\n")


def test_reaps_orphans(rootfs: Rootfs) -> None:
    script = """(sh -c 'echo $$ > /tmp/orphan; exec sleep 0.02' & exec true)
        until [ -s /tmp/orphan ]; do sleep 0.01; done
        i=0; while [ -e /proc/$(cat /tmp/orphan) ]; do sleep 0.02; i=$((i+1)); [ $i -lt 3000 ] || exit 1; done
        echo done"""
    assert run(config("sh", "-c", script), rootfs, init=True) == (0, "done\n")


def test_forwards_signals(rootfs: Rootfs) -> None:
    script = "trap 'echo got; exit 3' TERM; echo up; while true; do sleep 0.05; done"
    with bundle.Running(config("sh", "-c", script), rootfs, init=True) as it:
        it.read("up\n")
        it.init.signal(15)
        it.read("got\n")
        assert os.waitstatus_to_exitcode(it.init.wait()) == 3


def test_holds_nothing_open_and_few_rights(rootfs: Rootfs) -> None:
    with bundle.Running(config("sh", "-c", "echo up; exec sleep 100"), rootfs, init=True) as it:
        it.read("up\n")
        eventually(lambda: os.listdir(f"/proc/{it.init.pid}/fd") == [])
        status = Path(f"/proc/{it.init.pid}/status").read_text()
        assert "CapEff:\t0000000000000020\n" in status  # CAP_KILL
        assert os.stat(f"/proc/{it.init.pid}/exe").st_uid == 0


def test_terminal_foreground(rootfs: Rootfs) -> None:
    """The command leads the terminal's foreground group: ^C reaches it."""
    script = "trap 'echo int; exit 4' INT; echo up; while true; do sleep 0.05; done"
    init = container.create(
        config("sh", "-c", script, terminal=True), rootfs, id="x", stdio=(-1,) * 3, init=True
    )
    try:
        init.ready()
        init.start()
        text = b""
        while b"up" not in text:
            text += os.read(init.console, 100)
        os.write(init.console, b"\x03")
        while b"int" not in text:
            text += os.read(init.console, 100)
        assert os.waitstatus_to_exitcode(init.wait()) == 4
    finally:
        init.close()
