"""One layer: what its row says, and the name of its files.

Both the store of layers and what brings one in import this, and it imports neither.
"""

from __future__ import annotations

from estiva import errors
from estiva.oci import digest as digests


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
