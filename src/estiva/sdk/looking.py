"""Looking at what is there: `anatomy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.sdk import values
from estiva.sdk.engine import chosen
from estiva.sdk.told import told

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.view.shapes import Anatomy


@told
def anatomy(name: str, *, engine: Engine | None = None) -> Anatomy:
    """What a container, or else an image, is made of, by name or id: frozen dataclasses (docs/anatomy.md).

        body = estiva.anatomy("web")
        print(body.process_count, [limit.says for limit in body.cgroup.limits])

    Raises NotFound.
    """
    from estiva.view import anatomy as looking

    return looking.of(chosen(engine), values.text("name", name))
