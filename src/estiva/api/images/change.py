"""Images named, removed, pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.images import look, names
from estiva.engine.images import lookup
from estiva.errors import Conflict, InvalidInput, Unsupported
from estiva.oci import digest as digests

if TYPE_CHECKING:
    from estiva.api.app import Api, Route

PRUNED = ("dangling", "label", "label!", "until")


async def tag(api: Api, request: web.Request) -> web.Response:
    ref = request.match_info["name"]
    target = names.parse(request.query.get("repo", ""), request.query.get("tag", ""))
    if target.digest:
        raise InvalidInput("refusing to create a tag with a digest reference")
    if target.familiar_name in digests.LENGTHS:
        raise InvalidInput("refusing to create an ambiguous tag using digest algorithm as name")
    with names.here(ref):
        await api.work.do(lookup.tag, api.engine, ref, str(target))
    return answers.nothing(201)


def _told(lines: list[str]) -> list[dict[str, str]]:
    """{"Untagged": name} or {"Deleted": digest} for each line of `rmi`."""
    pairs = (line.partition(": ") for line in lines)
    return [{what: subject} for what, _, subject in pairs]


async def remove(api: Api, request: web.Request) -> web.Response:
    """`noprune` keeps parents: here they are no images, but what a build remembers, which stays."""
    ref = request.match_info["name"]
    if not ref.strip():
        raise InvalidInput("image name cannot be blank")
    force = answers.flag(request, "force")
    if request.query.get("platforms"):
        raise Unsupported("images of single platforms can't be removed: a name stands for all of its own")
    with names.here(ref):
        try:
            lines = await api.work.long_do(lookup.remove, api.engine, ref, force=force)
        except Conflict as error:
            held = await api.work.do(lookup.holders, api.engine, ref)
            raise Conflict(refusal(ref, held) or error.message) from None
    return answers.json(_told(lines))


def refusal(ref: str, held: dict[str, Any] | None) -> str:
    """Docker's words for an image that can't be removed. `held`: see engine/images/lookup.py."""
    if held is None:
        return ""
    image, users = digests.short(held["image"]), held["users"]
    running = next((user for user, alive in users if alive), "")
    if held["named"] and users:
        return (
            f'conflict: unable to remove repository reference "{ref}" (must force) - container '
            f"{(running or users[0][0])[:12]} is using its referenced image {image}"
        )
    begin = f"conflict: unable to delete {image}"
    if running:
        return f"{begin} (cannot be forced) - image is being used by running container {running[:12]}"
    if held["names"] > 1:
        return f"{begin} (must be forced) - image is referenced in multiple repositories"
    if users:
        return f"{begin} (must be forced) - image is being used by stopped container {users[0][0][:12]}"
    return ""


async def prune(api: Api, request: web.Request) -> web.Response:
    filters = answers.filters(request)
    look.check(filters, PRUNED)
    dangling = filters.pop("dangling", ["true"])
    every = all(value.lower() in look.FALSE for value in dangling)
    lines, freed = await api.work.long_do(lookup.prune, api.engine, all=every, filters=filters)
    return answers.json({"ImagesDeleted": _told(lines) or None, "SpaceReclaimed": freed})


ROUTES: tuple[Route, ...] = (
    ("POST", "/images/prune", prune),
    ("POST", "/images/{name:.+}/tag", tag),
    ("DELETE", "/images/{name:.+}", remove),
)
