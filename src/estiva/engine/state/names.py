"""Names of containers: the grammar, and one made up where the user gave none."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput

_LEFT = (
    "able agile amber ample brave breezy bright brisk calm candid clear coastal copper coral crisp deft "
    "early easy fair fleet fond free fresh gentle glad golden grand happy hardy ivory jolly keen kind "
    "light lively loyal lucid lunar mellow merry mild misty modest neat nimble noble olive patient "
    "plain polar prime proud quick quiet rapid ready robust rosy royal safe sandy sharp silver sleek "
    "smooth snug solar solid spry steady stout sunny swift tidal tidy trim true vivid warm wise witty "
)
LEFT = _LEFT.split()
_RIGHT = (
    "anchor atoll barge bay beacon berth boat bollard bow brig buoy cabin canal cape cargo channel "
    "chart coast cove crane crate crew current deck delta dock dune ferry fjord fleet galley gull "
    "harbor hatch haven heron hold hull isle jetty keel ketch knot lagoon lantern lighter lock marina "
    "mast mole mooring oar ocean pallet pelican pier pilot port quay raft reef rigger rope rudder sail "
    "schooner seal sextant shoal shore sloop sound spar spray stern strait surf tender tern tide "
    "trawler tug wave wharf winch yard "
)
RIGHT = _RIGHT.split()

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")


def check(name: str) -> str:
    """`name` without Docker's leading slash. Raises InvalidInput: [a-zA-Z0-9][a-zA-Z0-9_.-]+ only (K9)."""
    bare = name.removeprefix("/") if isinstance(name, str) else ""
    if len(bare) < 2 or len(bare) > 200 or bare[0] not in _FIRST or not _REST.issuperset(bare):
        raise InvalidInput(
            f'invalid container name "{name}"',
            hint="use letters, digits, _ . and -, two at least, a letter or digit first",
        )
    return bare


def invent(attempt: int = 0) -> str:
    """A name such as calm_pilot; later attempts carry a number, so that they can't clash for ever."""
    a, b, c = os.urandom(3)
    name = f"{LEFT[a % len(LEFT)]}_{RIGHT[b % len(RIGHT)]}"
    return f"{name}{os.urandom(2)[0] * 256 + c}" if attempt else name


def link_name(run_root: str, name: str, container_id: str) -> None:
    """run/names/NAME -> ID: `exec NAME` finds a running container without the database."""
    link = f"{run_root}/names/{name}"
    try:
        os.symlink(container_id, link)
    except FileExistsError:
        os.unlink(link)
        os.symlink(container_id, link)


def linked(run_root: str, name: str, container_id: str) -> str:
    """The name that a running container has now, `name` at first; "" if none leads to it."""
    if name and _target(f"{run_root}/names/{name}") == container_id:
        return name
    try:
        others = os.listdir(f"{run_root}/names") if name else []
    except OSError:
        return ""
    return next((one for one in others if _target(f"{run_root}/names/{one}") == container_id), "")


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def unlink_name(run_root: str, name: str, container_id: str) -> bool:
    """False if the name has no link, or one to another container."""
    link = f"{run_root}/names/{name}"
    try:
        if os.readlink(link) == container_id:
            os.unlink(link)
            return True
    except OSError:
        pass
    return False
