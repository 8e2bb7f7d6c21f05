"""One layer: what its row says, and the name of its files.

Both the store of layers and what brings one in import this, and it imports neither.
"""

from __future__ import annotations

from estiva import errors, files
from estiva.oci import digest as digests

HEX = frozenset("0123456789abcdef")


class Layer:
    """A layer in the store. size: bytes of its uncompressed tar; driver: which snapshot driver made it; sum:
    what its files have to be (store/layers/soundness.py).
    """

    __slots__ = ("diff_id", "size", "driver", "sum")

    def __init__(self, diff_id: str, size: int, driver: str, sum: str = "") -> None:
        self.diff_id, self.size, self.driver, self.sum = diff_id, size, driver, sum

    def __repr__(self) -> str:
        return f"Layer({self.diff_id}, size={self.size}, driver={self.driver!r})"


class Damaged(errors.StateError):
    """A layer can't be used as it is: it has to be made or fetched again."""

    def __init__(self, diff_id: str, why: str) -> None:
        super().__init__(f"layer {diff_id} is damaged: {why}", hint="pull its image again")
        self.diff_id = diff_id
        self.why = why


def layer_name(diff_id: str) -> str:
    """The hex name of a layer's files: a diffID becomes a path only here (K9). Raises InvalidInput."""
    algorithm, encoded = digests.parse(diff_id)
    if algorithm != "sha256":
        raise errors.InvalidInput(f"layer {diff_id} is not named by sha256")
    return encoded


def chains(path: str) -> list[tuple[str, str, str]]:
    """(NAME, DEPTH, diffIDs) of each line of a fixups/TOP/chains (mounts.py). What is no such line is as if
    it were not there, and so is what is no such file.
    """
    try:
        text = files.read_bounded(path, 64 << 20).decode("ascii", "replace")
    except (OSError, errors.IntegrityError):
        return []
    words = (tuple(line.split(" ")) for line in text.split("\n"))
    return [(found[0], found[1], found[2]) for found in words if len(found) == 3 and _is_chain(*found)]


def _is_chain(name: str, depth: str, diff_ids: str) -> bool:
    named = name == "-" or (len(name) == 12 and HEX.issuperset(name))
    return named and depth.isdigit() and 0 < int(depth[:9]) <= diff_ids.count(",") + 1
