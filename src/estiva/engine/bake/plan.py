"""What is built: the targets that were asked for, those that they need as contexts, and in which order."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from estiva.engine.bake.merge import KINDS, WHERE, Config, Overrides, Target
from estiva.errors import InvalidInput, oneline

CWD = "cwd://"
REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")


class Plan:
    """Groups and targets by name. `needs` has whose images a target has as contexts, `linked` those
    that were not asked for: they get no names, and go nowhere."""

    def __init__(
        self, groups: dict[str, list[str]], targets: dict[str, Target], linked: frozenset[str] = frozenset()
    ) -> None:
        self.groups = groups
        self.linked = linked
        self.targets = targets
        self.needs = {name: needs(target) for name, target in targets.items()}

    def json(self) -> str:
        """As `docker buildx bake --print` has it."""
        document: dict[str, Any] = {}
        if self.groups:
            document["group"] = {name: {"targets": self.groups[name]} for name in sorted(self.groups)}
        document["target"] = {
            name: {key: _sorted(target[key]) for key in KINDS if target.get(key) not in (None, [], {})}
            for name, target in sorted(self.targets.items())
        }
        text = json.dumps(document, indent=2, ensure_ascii=False)
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def needs(target: Target) -> dict[str, str]:
    """context -> the target that it is."""
    return {
        name: place.removeprefix(WHERE)
        for name, place in target.get("contexts", {}).items()
        if place.startswith(WHERE)
    }


def plan(config: Config, names: list[str], overrides: Overrides) -> Plan:
    """Raises NotFound, and InvalidInput for targets that need each other."""
    names = list(dict.fromkeys(name.replace(".", "_") for name in names)) or ["default"]
    targets: dict[str, Target] = {}
    groups: dict[str, list[str]] = {}
    for name in names:
        members, among = config.members(name)
        for member in members:
            if member not in targets:
                targets[member] = config.resolve(member, overrides)
        for group in among:
            groups[group] = list(config.groups[group])
    if asked := [name for name in names if name != "default"]:
        groups["default"] = list(dict.fromkeys([*groups.get("default", ()), *asked]))
    asked_for = set(targets)
    _link(config, targets, overrides)
    linked = frozenset(targets.keys() - asked_for)
    for name in linked:
        targets[name]["output"] = []
    for target in targets.values():
        target["context"] = cleaned(target["context"])
    return Plan(groups, targets, linked)


def _link(config: Config, targets: dict[str, Target], overrides: Overrides) -> None:
    """Take in what is needed, each before who needs it is done with."""
    done: set[str] = set()
    for first in list(targets):
        path: list[tuple[str, list[str]]] = [(first, list(needs(targets[first]).values()))]
        while path:
            name, left = path[-1]
            if not left:
                done.add(name)
                path.pop()
                continue
            needed = left.pop(0)
            if any(needed == each for each, _ in path):
                raise InvalidInput(f"infinite loop from {name} to {needed}")
            if needed not in targets:
                targets[needed] = config.resolve(needed, overrides)
            _check_platforms(needed, targets[needed], name, targets[name])
            if needed not in done:
                path.append((needed, list(needs(targets[needed]).values())))


def _check_platforms(needed: str, below: Target, name: str, above: Target) -> None:
    there, wanted = below.get("platforms", []), above.get("platforms", [])
    if len(there) > 1 and not set(wanted) <= set(there):
        raise InvalidInput(
            f"target {needed} can't be used by {name} because its platforms {oneline(str(there))} are not a "
            f"subset of {oneline(str(wanted))}"
        )


def cleaned(place: str) -> str:
    """A context as buildx shows it: a folder's shortest path."""
    if is_remote(place):
        return place
    return posixpath.normpath(place.removeprefix(CWD))


def is_remote(place: str) -> bool:
    return place.lower().startswith(REMOTE)
