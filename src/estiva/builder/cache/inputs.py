"""What steps were made of, for `--explain-cache`: which input of a step is not what it was the last time.

<cache>/build/inputs/IMAGE       the inputs of the step whose layer that hidden image has: JSON, compressed
<cache>/build/inputs/SLOT.last   the IMAGE that a place in a Dockerfile had in its last build

They are told, never used: a build is the same without them.
"""

from __future__ import annotations

import os
from itertools import islice

from estiva.errors import oneline
from estiva.files import atomic_write
from estiva.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from estiva.paths import Paths

LINES = 10  # that are told of a step
WIDEST = 100  # characters of a value
_SIZE = 64 << 20  # bytes of one step's inputs


def folder(paths: Paths) -> str:
    return paths.cache + "/build/inputs"


def slot(*place: str) -> str:
    """The name of a place in a Dockerfile: of which file and context, which stage, which instruction."""
    return digests.sha256("\0".join(place).encode("utf-8", "surrogatepass")).removeprefix("sha256:")


class Inputs:
    """Those of one store."""

    def __init__(self, paths: Paths) -> None:
        self.folder = folder(paths)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)

    def made(self, place: str, image: str, inputs: Mapping[str, Any]) -> None:
        """A step was made, and is that image."""
        import json
        import zlib

        data = zlib.compress(json.dumps(inputs).encode(), 1)
        try:
            atomic_write(self._path(image), data, mode=0o600, sync=False)
            self.found(place, image)
        except OSError:  # a full disk: nothing depends on it
            pass

    def found(self, place: str, image: str) -> None:
        """A step was found in the cache."""
        if self._last(place) == image:
            return
        try:
            atomic_write(f"{self.folder}/{place}.last", image.encode(), mode=0o600, sync=False)
        except OSError:
            pass

    def last(self, place: str) -> dict[str, Any] | None:
        """What the step of a place was made of the last time, if that is known."""
        import json
        import zlib

        try:
            with open(self._path(self._last(place)), "rb") as file:
                data = zlib.decompressobj().decompress(file.read(_SIZE), _SIZE)
            found = json.loads(data)
        except (OSError, ValueError, zlib.error):
            return None
        return found if isinstance(found, dict) else None

    def _last(self, place: str) -> str:
        try:
            with open(f"{self.folder}/{place}.last", "rb", buffering=0) as file:
                return (file.read(100) or b"").decode("ascii")
        except (OSError, ValueError):
            return ""

    def _path(self, image: str) -> str:
        return f"{self.folder}/{image.rpartition(':')[2] or 'none'}"


def explain(old: Mapping[str, Any] | None, new: Mapping[str, Any], history: Sequence[str]) -> list[str]:
    """Why a step was made anew, in words: what of its inputs is not as it was. `history`: the lines of the
    layers below, as many as there are; of one that has no digest yet there is an empty word.
    """
    if old is None:
        return ["it has not been built here before"]
    changes = list(islice(_changes(old, new, history), LINES + 1))
    if len(changes) > LINES:
        changes[LINES:] = ["and more"]
    return changes or ["its result is no longer in the cache"]


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], history: Sequence[str]) -> Iterator[str]:
    before, now = old.get("below", []), new["below"]
    for index, layer in enumerate(now):
        if index >= len(before) or layer != before[index]:
            made = history[index] if index < len(history) else ""
            made = _short(made.removesuffix(" # buildkit")) if made else "the base image"
            yield f"what lies below it has changed, from here on: {made}"
            break
    else:
        if len(before) > len(now):
            yield "there are fewer layers below it"
    for name in _keys(old, new):
        if name not in ("below", "env", "files") and old.get(name) != new.get(name):
            yield f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}"
    for word, what in (("env", "variable"), ("files", "")):
        was, is_ = old.get(word) or {}, new.get(word) or {}
        for name in _keys(was, is_):
            if was.get(name) != is_.get(name):
                yield from _changed(what, name, was.get(name), is_.get(name))


def _changed(what: str, name: str, was: Any, now: Any) -> Iterator[str]:
    label = f"{what} {oneline(name)}".strip()
    if was is None:
        yield f"{label} is new"
    elif now is None:
        yield f"{label} is gone"
    elif what:
        yield f"{label}: {_short(was)} -> {_short(now)}"
    else:
        for part, one, other in zip(("mode", "owner", "content"), was, now, strict=False):
            if one != other:
                told = f" {one} -> {other}" if part != "content" else ""
                yield f"{part} of {label}{told}" if told else f"{part} of {label} has changed"


def _keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))


def _short(value: object) -> str:
    if value in (None, "", [], {}):
        return "nothing"
    if not isinstance(value, str):
        import json

        value = json.dumps(value)
    text = oneline(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
