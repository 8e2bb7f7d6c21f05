"""A snapshot where an image's name is asked for: its image, with what stands above the layers."""

from __future__ import annotations

from estiva.store import states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.store.images import Image


def find(engine: Engine, word: str) -> Image | None:
    """The image of the snapshot of that name or id, its config that of the snapshot; None without one."""
    state = states.find(engine.db, word)
    image = engine.store.images.find(state.image) if state is not None else None
    if state is None or image is None:
        return None
    image.states = state.chain
    image.memory = state.id if "memory" in state.about else ""
    config = image.config
    image._config = {**config, "config": {**(config.get("config") or {}), **state.about["config"]}}
    return image


def profile(engine: Engine, word: object) -> str:
    """The profile of whose files the snapshot of that name or id has: what is made from it is as little
    trusted. "" without one."""
    if not isinstance(word, str) or engine.store.images.find(word) is not None:
        return ""
    state = states.find(engine.db, word)
    return state.about.get("profile", "") if state is not None else ""
