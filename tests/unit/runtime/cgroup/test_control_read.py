"""A control file is read to its end, also where the kernel gives it in pieces that are no whole pages."""

import os

from estiva.runtime.cgroup import control


def test_a_list_of_pids_comes_in_pieces_that_end_with_a_line(monkeypatch):
    pieces = [b"123456\n" * 585, b"123456\n" * 585, b"1\n"]  # 4095 bytes: as many lines as fit a page
    monkeypatch.setattr(os, "read", lambda fd, size: pieces.pop(0))
    assert control.read("/dev/null").split() == ["123456"] * 1170 + ["1"]


def test_a_short_file_is_read_once(monkeypatch):
    pieces = [b"max\n"]
    monkeypatch.setattr(os, "read", lambda fd, size: pieces.pop(0))
    assert control.read("/dev/null") == "max"
