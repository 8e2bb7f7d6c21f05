"""The environment, and what a command turns out to be."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.runtime.process import command


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
    assert command.shebang(header) == interpreter


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
        assert command.loader(fd, b"\x7fELF" + tail) == ""
        os.close(fd)
