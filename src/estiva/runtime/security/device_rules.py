"""linux.resources.devices and the nodes of /dev that every container has: docker's defaults."""

from __future__ import annotations

from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


# (path, major, minor): the nodes of every container's /dev, all of them character devices of mode 0666.
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)


_DEFAULT_DEVICE_RULES = (
    # Any node may be made, none but these be opened.
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, -1, "rwm"),  # pts/*
)


def device_rule(kind: str, major: int, minor: int, access: str, allow: bool = True) -> dict[str, Any]:
    """One entry of OCI linux.resources.devices; -1 is any number."""
    rule: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    if major >= 0:
        rule["major"] = major
    if minor >= 0:
        rule["minor"] = minor
    return rule


def parse_device_rule(text: str) -> dict[str, Any]:
    """--device-cgroup-rule: "c 1:3 mr", "b 8:* rwm", "a *:* rwm". Raises InvalidInput."""
    words = text.split(" ")
    if len(words) == 3 and words[0] in ("a", "b", "c") and words[2] and not set(words[2]) - set("rwm"):
        major, colon, minor = words[1].partition(":")
        numbers = [-1 if number == "*" else int(number) for number in (major, minor) if _is_number(number)]
        if colon and len(numbers) == 2:
            return device_rule(words[0], numbers[0], numbers[1], words[2])
    raise InvalidInput(f"{oneline(text)!r} is not a device rule", hint='such as "c 1:3 rwm" or "b 8:* r"')


def _is_number(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 32)


def device_rules(
    devices: Iterable[dict[str, Any]] = (), rules: Iterable[str] = (), privileged: bool = False
) -> list[dict[str, Any]]:
    """OCI linux.resources.devices of a container. `devices`: entries of OCI linux.devices that --device
    gave, each with an `access` of its own if not "rwm". `rules`: texts of --device-cgroup-rule. Raises
    InvalidInput."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    result: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    result += [device_rule(*rule) for rule in _DEFAULT_DEVICE_RULES]
    for device in devices:
        kind = "b" if device["type"] == "b" else "c"
        result.append(device_rule(kind, device["major"], device["minor"], device.get("access", "rwm")))
    result += [parse_device_rule(text) for text in rules]
    return result
