"""Terminals."""

from __future__ import annotations

import os

from estiva.linux import tty


def test_window_size_and_raw_mode() -> None:
    master, slave = tty.open_pty()
    try:
        tty.set_window_size(master, 12, 34)
        assert tty.window_size(slave) == (12, 34)
        assert os.ttyname(slave) == f"/dev/pts/{tty.number(master)}"
        saved = tty.raw(slave)
        os.write(master, b"\x03\r")
        assert os.read(slave, 10) == b"\x03\r"
        tty.restore(slave, saved)
        os.write(master, b"x\r")
        assert os.read(slave, 10) == b"x\n"
    finally:
        os.close(master)
        os.close(slave)
