"""A diffID becomes the name of files in one place only (K9)."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput
from estiva.store.layers.layer import Layer, layer_name


def test_the_name_of_a_layers_files() -> None:
    assert layer_name("sha256:" + "0f" * 32) == "0f" * 32
    assert "dir" in repr(Layer("sha256:" + "0f" * 32, 5, "dir"))


@pytest.mark.parametrize(
    "diff_id",
    ["", "0f" * 32, "sha256:" + "0F" * 32, "sha256:../../etc", "sha256:" + "0f" * 33, "sha512:" + "0f" * 64],
)
def test_what_names_no_layer(diff_id: str) -> None:
    with pytest.raises(InvalidInput):
        layer_name(diff_id)
