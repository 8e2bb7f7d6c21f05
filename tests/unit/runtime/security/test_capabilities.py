"""Capabilities by docker's rules."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput, Unsupported
from estiva.runtime.security import capabilities as caps
from estiva.runtime.security.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, capabilities


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
