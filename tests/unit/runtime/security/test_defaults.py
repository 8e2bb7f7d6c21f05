"""Capabilities by docker's rules, device rules, and the cache of compiled filters."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

import pytest

from estiva import fastjson
from estiva.errors import InvalidInput, Unsupported
from estiva.runtime.security import capabilities as caps
from estiva.runtime.security import kernel_paths
from estiva.runtime.security import seccomp as seccomp_filter
from estiva.runtime.security.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, capabilities
from estiva.runtime.security.device_rules import DEFAULT_DEVICES, device_rules, parse_device_rule
from estiva.runtime.security.seccomp import default_filter, profile_filter


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose bounding set has everything."""
    monkeypatch.setattr(caps, "bounding_has", lambda number: True)


def test_the_defaults_are_dockers_fourteen(full: None) -> None:
    assert len(DEFAULT_CAPABILITIES) == 14
    assert capabilities() == list(DEFAULT_CAPABILITIES)
    assert "CAP_SYS_ADMIN" not in capabilities()


def test_numbers_are_the_kernels() -> None:
    assert list(ALL_CAPABILITIES.values()) == list(range(41))


@pytest.mark.parametrize(
    ("add", "drop", "more", "less"),
    [
        (["NET_ADMIN"], [], {"CAP_NET_ADMIN"}, set()),
        (["cap_net_admin"], ["chown"], {"CAP_NET_ADMIN"}, {"CAP_CHOWN"}),
        ([], ["CAP_MKNOD", "NET_RAW"], set(), {"CAP_MKNOD", "CAP_NET_RAW"}),
        (["CHOWN"], ["CHOWN"], set(), set()),
        (["ALL"], [], set(ALL_CAPABILITIES), set()),
        (["all"], ["SYS_ADMIN"], set(ALL_CAPABILITIES) - {"CAP_SYS_ADMIN"}, set()),
        (["CHOWN"], ["ALL"], set(), set(DEFAULT_CAPABILITIES) - {"CAP_CHOWN"}),
        ([], ["all"], set(), set(DEFAULT_CAPABILITIES)),
    ],
)
def test_adding_and_dropping(
    full: None, add: list[str], drop: list[str], more: set[str], less: set[str]
) -> None:
    assert set(capabilities(add, drop)) == set(DEFAULT_CAPABILITIES) - less | more


@pytest.mark.parametrize("name", ["NONSENSE", "CAP_", "", "CAP_CAP_CHOWN", "chown\n"])
def test_an_unknown_name_is_refused(full: None, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a capability"):
        capabilities([name])
    with pytest.raises(InvalidInput, match="is not a capability"):
        capabilities([], [name])


def test_what_the_bounding_set_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {ALL_CAPABILITIES["CAP_SYS_RESOURCE"], ALL_CAPABILITIES["CAP_MKNOD"]}
    monkeypatch.setattr(caps, "bounding_has", lambda number: number not in lacking)
    assert set(capabilities(privileged=True)) == set(ALL_CAPABILITIES) - {"CAP_SYS_RESOURCE", "CAP_MKNOD"}
    assert "CAP_SYS_RESOURCE" not in capabilities(["ALL"])
    assert "CAP_MKNOD" not in capabilities()
    assert caps.withheld(DEFAULT_CAPABILITIES) == ["CAP_MKNOD"]
    with pytest.raises(Unsupported, match="CAP_SYS_RESOURCE"):
        capabilities(["SYS_RESOURCE"])


def test_the_real_bounding_set_is_what_proc_says() -> None:
    with open("/proc/self/status") as file:
        bounding = int(next(line for line in file if line.startswith("CapBnd:")).split()[1], 16)
    expected = [name for name, number in ALL_CAPABILITIES.items() if bounding >> number & 1]
    assert capabilities(privileged=True) == expected


def test_hidden_paths() -> None:
    masked = kernel_paths.masked_paths()
    for path in ("/proc/kcore", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"):
        assert path in masked
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(kernel_paths.READONLY_PATHS)
    assert not set(masked) & set(kernel_paths.READONLY_PATHS)


def test_device_rules_start_closed() -> None:
    rules = device_rules()
    assert rules[0] == {"allow": False, "access": "rwm"}
    allowed = {(r["type"], r.get("major"), r.get("minor"), r["access"]) for r in rules[1:]}
    assert ("c", 1, 3, "rwm") in allowed and ("c", 136, None, "rwm") in allowed
    assert ("b", None, None, "m") in allowed
    assert not [r for r in allowed if r[0] == "b" and r[3] != "m"]
    for path, major, minor in DEFAULT_DEVICES:
        assert ("c", major, minor, "rwm") in allowed, path


def test_device_rules_of_the_user() -> None:
    rules = device_rules([{"type": "c", "major": 10, "minor": 229, "access": "rw"}], ["b 8:* r", "a *:* rwm"])
    assert rules[-3:] == [
        {"allow": True, "type": "c", "access": "rw", "major": 10, "minor": 229},
        {"allow": True, "type": "b", "access": "r", "major": 8},
        {"allow": True, "type": "a", "access": "rwm"},
    ]
    assert device_rules(privileged=True) == [{"allow": True, "access": "rwm"}]


@pytest.mark.parametrize(
    "text", ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:x r", "c 1:3 q", "c -1:3 r", "c 1:3 r\n", "c ¹:3 r"]
)
def test_a_malformed_device_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a device rule"):
        parse_device_rule(text)


# --- the cache -----------------------------------------------------------------------------------------


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
