"""TODO docstring."""

from __future__ import annotations

from estiva import errors
from estiva.oci import digest as digests


def layer_name(diff_id: str) -> str:
    """The hex name of a layer's files. Raises InvalidInput (K9: a diffID becomes a path only through
    here).
    """
    algorithm, encoded = digests.parse(diff_id)
    if algorithm != "sha256":
        raise errors.InvalidInput(f"layer {diff_id} is not named by sha256")
    return encoded
