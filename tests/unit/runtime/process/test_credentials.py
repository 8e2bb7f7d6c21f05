"""process.capabilities as masks."""

from __future__ import annotations

import pytest

from estiva.linux import process
from estiva.runtime.process.credentials import Capabilities
from estiva.runtime.security.capabilities import ALL_CAPABILITIES


def mask(*names: str) -> int:
    return sum(1 << ALL_CAPABILITIES[f"CAP_{name}"] for name in names)


def test_none_given_is_none_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "known_capabilities", lambda: 3)
    for sets in (None, {}):
        made = Capabilities(sets, ALL_CAPABILITIES)
        assert (made.bounding, made.effective, made.permitted, made.inheritable, made.ambient) == (0,) * 5
        assert made.dropped == [0, 1, 2]


def test_sets_that_exceed_others_are_cut_down() -> None:
    """What execve(2) would not give anyway: effective beyond permitted, ambient beyond inheritable (K6)."""
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_FUTURE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN", "CAP_SYS_ADMIN"],
        "inheritable": ["CAP_KILL", "CAP_SYS_ADMIN"],
        "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_SYS_ADMIN"],
    }
    made = Capabilities(sets, ALL_CAPABILITIES)
    assert made.bounding == mask("CHOWN", "KILL")
    assert made.effective == mask("CHOWN")
    assert made.ambient == mask("KILL")
    assert ALL_CAPABILITIES["CAP_CHOWN"] not in made.dropped
    assert ALL_CAPABILITIES["CAP_SYS_ADMIN"] in made.dropped
