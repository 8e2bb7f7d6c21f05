"""Device rules by docker's rules."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.security.device_rules import DEFAULT_DEVICES, device_rules, parse_device_rule


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
