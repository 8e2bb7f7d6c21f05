"""How much of images is theirs alone, and what the whole disk is used for, item by item."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine


def shared(engine: Engine) -> dict[str, int]:
    """Bytes of each image's layers that other images have, too, by its id."""
    from estiva.store.upkeep import usage

    return {name: each["shared"] for name, each in usage.per_image(engine.store).items()}


def detail(engine: Engine) -> dict[str, Any]:
    """{"layers": bytes of all layers that images have, each counted once, "images": id -> {"size", "shared",
    "unique", "containers"}, "containers": id -> bytes written, "volumes": name -> {"size", "links"}}."""
    from estiva.store.upkeep import usage

    known = usage.usage(engine.store)
    sizes = dict(engine.db.read("SELECT diff_id, size FROM layers"))
    layers = {diff_id for image in engine.store.images.list() for diff_id in image.diff_ids}
    return {
        "layers": sum(int(sizes.get(each, 0)) for each in layers),
        "images": known["per_image"],
        "containers": known["per_container"],
        "volumes": known["per_volume"],
    }
