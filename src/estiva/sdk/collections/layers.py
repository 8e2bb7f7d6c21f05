"""The layers of an image."""

from __future__ import annotations

from typing import Any


class Layers(list[dict[str, Any]]):
    """The layers of an image, the base first."""

    def _repr_html_(self) -> str:
        from estiva.sdk import html

        return html.layers(self)
