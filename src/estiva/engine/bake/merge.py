"""Targets and groups, out of several files and out of what they inherit, merged as buildx merges them.

A target is a dict of buildx's own names: texts, truth values, lists of texts, and maps of texts.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Any

from estiva.engine.bake.values import kind_of, text_of, truth_of
from estiva.errors import InvalidInput, NotFound, oneline

Target = dict[str, Any]

TEXT, BOOL, LIST, MAP = "text", "bool", "list", "map"
# in the order of buildx's JSON; a list that is not among ADDED replaces the inherited one
KINDS = {
    "inherits": LIST, "description": TEXT, "annotations": LIST, "attest": LIST, "context": TEXT,
    "contexts": MAP, "dockerfile": TEXT, "dockerfile-inline": TEXT, "args": MAP, "labels": MAP, "tags": LIST,
    "cache-from": LIST, "cache-to": LIST, "target": TEXT, "secret": LIST, "ssh": LIST, "platforms": LIST,
    "output": LIST, "pull": BOOL, "no-cache": BOOL, "network": TEXT, "no-cache-filter": LIST,
    "shm-size": TEXT, "ulimits": LIST, "call": TEXT, "entitlements": LIST, "extra-hosts": MAP,
}  # fmt: skip
ADDED = (
    "inherits", "annotations", "attest", "cache-from", "secret", "ssh", "no-cache-filter", "ulimits",
    "entitlements",
)  # fmt: skip
WORDS = {"secrets": "secret", "platform": "platforms"}  # as --set calls them
MAX_INHERITS = 100  # of targets that inherit from each other
WHERE = "target:"  # a named context that is another target


class Config:
    """What the files say: groups and targets in the order in which they come first."""

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {}
        self.targets: dict[str, Target] = {}
        self.warnings: list[str] = []

    def add(self, name: str, target: Target) -> None:
        """A target of a file, over that of its name in those before."""
        self.targets[name] = merged(self.targets.get(name, {}), target)

    def update(self, other: Config) -> None:
        """Another's over this one; its groups in the place of this one's, as in buildx."""
        self.groups.update(other.groups)
        for name, target in other.targets.items():
            self.add(name, target)
        self.warnings += other.warnings

    def members(self, name: str) -> tuple[list[str], list[str]]:
        """(targets, groups) that a name stands for."""
        targets: dict[str, None] = {}
        groups: dict[str, None] = {}
        self._members(name, [], targets, groups)
        return list(targets), list(groups)

    def _members(self, name: str, path: list[str], targets: dict[str, None], groups: dict[str, None]) -> None:
        if name not in self.groups or name in path:  # a group in itself: there is no such target
            targets[name] = None
        elif name not in groups:
            groups[name] = None
            if len(path) > MAX_INHERITS:
                raise InvalidInput(f"group {name}: more than {MAX_INHERITS} groups are in each other")
            for each in self.groups[name]:
                self._members(each, [*path, name], targets, groups)

    def resolve(self, name: str, overrides: Overrides) -> Target:
        """A target with all that it inherits. Raises NotFound."""
        target = self._resolve(name, overrides, {}, 0)
        assert target is not None
        result = {key: value for key, value in target.items() if key != "description"}
        result.setdefault("context", ".")
        result["dockerfile"] = result.get("dockerfile") or "Dockerfile"
        return result

    def _resolve(
        self, name: str, overrides: Overrides, seen: dict[str, Target | None], depth: int
    ) -> Target | None:
        if name in seen:
            return seen[name]
        seen[name] = None
        if name not in self.targets:
            raise NotFound(f"failed to find target {oneline(name)}", hint=self._near(name))
        if depth > MAX_INHERITS:
            raise InvalidInput(f"target {name}: more than {MAX_INHERITS} targets inherit from each other")
        result: Target = {}
        for parent in self.targets[name].get("inherits", ()):
            inherited = self._resolve(parent, overrides, seen, depth + 1)
            if inherited is not None:
                result = merged(result, inherited)
        mine = self.targets[name].items()
        result = merged(result, {key: value for key, value in mine if key != "inherits"})
        for key, (values, append) in overrides.get(name, {}).items():
            override(result, key, values, append)
        seen[name] = normal(result)
        return seen[name]

    def _near(self, name: str) -> str:
        known = [*self.groups, *self.targets]
        return f"the targets are {', '.join(known[:20])}" if known and name != "default" else ""


def coerced(name: str, value: Any) -> Any:
    """A value as the key of that name has it. Raises ValueError for one of another kind, KeyError."""
    kind = KINDS[name]
    if value is None:
        return None
    if kind == TEXT:
        return text_of(value)
    if kind == BOOL:
        return truth_of(value)
    if kind == LIST:
        if not isinstance(value, list):
            raise ValueError("list of string required")
        return [_entry(each) for each in value]
    if not isinstance(value, dict):
        raise ValueError("map of string required")
    return {key: text_of(each) for key, each in value.items() if each is not None}


def _entry(value: Any) -> str:
    """A text; an object of texts, as buildx writes outputs and caches lately, in its CSV form."""
    if not isinstance(value, dict):
        return text_of(value)
    fields = [f"{key}={text_of(each)}" for key, each in value.items() if each is not None]
    if any("," in field or '"' in field for field in fields):
        raise ValueError(f"a comma in {kind_of(value)} is not supported")
    return ",".join(fields)


def merged(below: Target, above: Target) -> Target:
    result = dict(below)
    for key, value in above.items():
        if KINDS[key] == MAP:
            result[key] = {**below.get(key, {}), **value}
        elif key in ADDED:
            result[key] = [*below.get(key, ()), *value]
        else:
            result[key] = value
    return result


def normal(target: Target) -> Target:
    """Without what is there twice, and without contexts that were taken away."""
    result = {}
    for key, value in target.items():
        if isinstance(value, list):
            value = list(dict.fromkeys(value))
        elif key == "contexts":
            value = {name: place for name, place in value.items() if place}
        result[key] = value
    return result


Overrides = dict[str, dict[str, tuple[list[str], bool]]]
ARRAYS = (
    "output", "cache-to", "cache-from", "tags", "platform", "secrets", "ssh", "attest", "annotations",
    "no-cache-filter", "ulimits", "entitlements",
)  # fmt: skip
SINGLE = (
    "context",
    "dockerfile",
    "target",
    "no-cache",
    "pull",
    "push",
    "load",
    "network",
    "shm-size",
    "call",
)
TRUE, FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
NAMED = ("args", "contexts", "labels", "extra-hosts")


def overrides(words: list[str], config: Config) -> Overrides:
    """What --set says, by targets. Raises InvalidInput, NotFound."""
    result: Overrides = {}
    for word in words:
        left, equals, value = word.partition("=")
        append = left.endswith("+")
        pattern, dot, key = left.removesuffix("+").partition(".")
        if not dot:
            raise InvalidInput(f"invalid override key {oneline(left)}, expected target.name")
        first, _, rest = key.partition(".")
        if not equals and first != "args":
            raise InvalidInput(f"invalid override {oneline(word)}, expected target.name=value")
        if first in NAMED:
            if not rest:
                raise InvalidInput(f"invalid key {oneline(left)}, {first} requires name")
        elif first not in ARRAYS and first not in SINGLE:
            raise InvalidInput(f"unknown key: {oneline(first)}")
        if append and first not in ARRAYS:
            raise InvalidInput(f"invalid key {oneline(left)}, {first} does not support append")
        if not equals:
            if rest not in os.environ:
                continue
            value = os.environ[rest]
        for name in _matching(pattern, config):
            keys = result.setdefault(name, {})
            before = keys.get(key, ([], False))[0] if first in ARRAYS else []
            keys[key] = [*before, value], append
    return result


def _matching(pattern: str, config: Config) -> list[str]:
    if pattern in config.targets:
        return [pattern]
    found = [name for name in config.targets if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise NotFound(f"could not find any target matching '{oneline(pattern)}'")
    return found


def override(target: Target, key: str, values: list[str], append: bool) -> None:
    """Raises InvalidInput."""
    first, _, rest = key.partition(".")
    if first in NAMED:
        target[first] = {**target.get(first, {}), rest: values[-1]}
    elif first in ARRAYS:
        name = WORDS.get(first, first)
        append = append or first in ("annotations", "attest", "entitlements")
        target[name] = [*target.get(name, ()), *values] if append else values
    elif first in ("no-cache", "pull", "push", "load"):
        if values[-1] not in TRUE + FALSE:
            raise InvalidInput(f"invalid value {oneline(values[-1])} for boolean key {first}")
        wanted = values[-1] in TRUE
        if first in ("push", "load"):
            _push(target, wanted) if first == "push" else _load(target, wanted)
        else:
            target[first] = wanted
    else:
        target[first] = values[-1]


def _push(target: Target, wanted: bool) -> None:
    """An image goes to its registry, or does not; archives and folders are as they were."""
    result, kinds = [], []
    for output in target.get("output", ()):
        fields = output.split(",")
        kind = next((field[5:] for field in fields if field.startswith("type=")), "")
        if kind == "registry" and not wanted:
            continue
        if kind == "image":
            fields = [field for field in fields if not field.startswith("push=")]
            fields.append(f"push={str(wanted).lower()}")
        kinds.append(kind)
        result.append(",".join(fields))
    if wanted and all(kind == "docker" for kind in kinds):
        result.append("type=image,push=true")
    target["output"] = result


def _load(target: Target, wanted: bool) -> None:
    """An image is kept here, and beside that only sent to a registry."""
    outputs = target.get("output", [])
    if wanted:
        sent = [each for each in outputs if "type=registry" in each or "push=true" in each]
        target["output"] = [*sent, "type=docker"]
