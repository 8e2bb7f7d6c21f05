"""sha256 of little and of much, and what is loaded for it."""

from __future__ import annotations

import hashlib
import pathlib
import random
import subprocess
import sys

import pytest

from estiva.oci import digest

SOURCE = pathlib.Path(__file__).parents[3] / "src"


@pytest.mark.parametrize("left", [0, 1 << 40])
def test_it_is_what_hashlib_has_however_it_comes(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    monkeypatch.setattr(digest, "_left", left)
    monkeypatch.delitem(sys.modules, "_hashlib", raising=False)  # as in a process that has not loaded it
    chance = random.Random(2)
    for size in (0, 1, 63, 64, digest.PIECE - 1, digest.PIECE, 3 * digest.PIECE + 5):
        data = chance.randbytes(size)
        meant = hashlib.sha256(data).hexdigest()
        assert digest.sha256(data) == "sha256:" + meant
        total, place = digest.Sha256(), 0
        while place < size:
            step = chance.choice((1, 100, digest.PIECE, 2 * digest.PIECE))
            total.update(data[place : place + step])
            place += step
            if place < size // 2:
                total.hexdigest()  # which ends nothing
        assert total.hexdigest() == meant


@pytest.mark.parametrize(("count", "openssl"), [(1, False), (200, False), (300, True)])
def test_openssl_is_loaded_where_it_is_worth_it(count: int, openssl: bool) -> None:
    code = (
        f"import sys; sys.path.append({str(SOURCE)!r}); from estiva.oci import digest\n"
        f"for _ in range({count}): digest.sha256(bytes(1000))\nprint('_hashlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(openssl)
