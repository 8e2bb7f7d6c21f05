"""The cache of compiled filters."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

import pytest

from estiva import fastjson
from estiva.errors import InvalidInput
from estiva.runtime.security import seccomp as seccomp_filter
from estiva.runtime.security.capabilities import DEFAULT_CAPABILITIES
from estiva.runtime.security.seccomp import default_filter, profile_filter


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every compilation, so that a hit can be told from a miss; the program it gives is a stand-in."""
    seen: list[Any] = []

    def compile_instead(profile: dict[str, Any], skipped: list[str] | None = None) -> bytes:
        seen.append(profile)
        return b"\x06\0\0\0\0\0\xff\x7f" * len(seen)

    from estiva.linux import seccomp

    monkeypatch.setattr(seccomp, "compile", compile_instead)
    return seen


def test_a_filter_is_compiled_once(tmp_path: Any, compilations: list[Any]) -> None:
    cache = str(tmp_path / "cache")
    first = default_filter(DEFAULT_CAPABILITIES, cache)
    assert default_filter(tuple(reversed(DEFAULT_CAPABILITIES)), cache) == first
    assert len(compilations) == 1
    assert default_filter(["CAP_CHOWN"], cache) != first
    assert len(compilations) == 2
    files = list((tmp_path / "cache/seccomp").iterdir())
    assert len(files) == 2
    assert stat.S_IMODE(os.stat(tmp_path / "cache/seccomp").st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


@pytest.mark.parametrize("content", [b"", b"1234567", b"123456789", b"x" * (4097 * 8)])
def test_a_damaged_file_is_made_again(tmp_path: Any, compilations: list[Any], content: bytes) -> None:
    program = default_filter([], str(tmp_path))
    (path,) = (tmp_path / "seccomp").iterdir()
    path.write_bytes(content)
    assert default_filter([], str(tmp_path)) == program * 2  # compiled a second time
    assert path.read_bytes() == program * 2


def test_a_symlink_is_not_followed(tmp_path: Any, compilations: list[Any]) -> None:
    program = default_filter([], str(tmp_path))
    (path,) = (tmp_path / "seccomp").iterdir()
    (tmp_path / "elsewhere").write_bytes(b"12345678")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert default_filter([], str(tmp_path)) == program * 2
    assert (tmp_path / "elsewhere").read_bytes() == b"12345678"
    assert not path.is_symlink()


def test_a_cache_that_can_not_be_written_costs_nothing_else(tmp_path: Any, compilations: list[Any]) -> None:
    (tmp_path / "file").write_text("")
    assert default_filter([], str(tmp_path / "file")) == b"\x06\0\0\0\0\0\xff\x7f"


def test_a_users_profile_is_keyed_by_what_it_says(tmp_path: Any, compilations: list[Any]) -> None:
    one = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]}
    same = {"syscalls": [{"action": "SCMP_ACT_LOG", "names": ["read"]}], "defaultAction": "SCMP_ACT_ALLOW"}
    other = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_LOG"}]}
    first = profile_filter(one, [], str(tmp_path))
    assert profile_filter(same, [], str(tmp_path)) == first
    assert len(compilations) == 1
    profile_filter(other, [], str(tmp_path))
    profile_filter(one, ["CAP_CHOWN"], str(tmp_path))
    assert len(compilations) == 3
    with pytest.raises(InvalidInput, match="not json"):
        profile_filter({"defaultAction": {1, 2}}, [], str(tmp_path))


def test_whoever_changes_the_table_raises_its_version() -> None:
    """Compiled filters are cached under PROFILE_VERSION, so a table that changed without it would not take
    effect."""
    from estiva.runtime.security.seccomp_profile import profile

    digest = hashlib.sha256(fastjson.dumps(profile(), sort_keys=True).encode()).hexdigest()
    assert (seccomp_filter.PROFILE_VERSION, digest[:16]) == (2, "ed19170a569fa1c4")
