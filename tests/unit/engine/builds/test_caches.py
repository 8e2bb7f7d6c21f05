"""The words of --cache-from and --cache-to."""

from __future__ import annotations

import pytest

from estiva.engine.builds import caches
from estiva.errors import InvalidInput


@pytest.mark.parametrize(
    ("option", "known", "folder"), [("cache-from", caches.FROM, "src"), ("cache-to", caches.TO, "dest")]
)
def test_the_hint_names_the_field_that_is_needed(
    option: str, known: dict[str, tuple[str, ...]], folder: str
) -> None:
    with pytest.raises(InvalidInput, match=f"it needs {folder}=") as caught:
        caches.Place(option, "type=local", known)
    assert caught.value.hint == f"NAME, type=registry,ref=NAME or type=local,{folder}=FOLDER"
