"""Names of images as requests have them, and what docker says of those that are none or are not here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from estiva.api import answers
from estiva.errors import Denied, EngineError, InvalidInput, NoAccess, NotFound, Unavailable, brief
from estiva.oci import digest as digests
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web


def parse(text: str, tag: str = "") -> Reference:
    """A name, with the tag or digest that the query has in place of its own. Raises InvalidInput in docker's
    words."""
    found = bare(text)
    if digests.valid(tag):
        return found.with_digest(tag)
    if tag:
        try:
            return Reference.parse(f"{found.name}:{tag}")
        except InvalidInput:
            raise InvalidInput("invalid tag format") from None
    return found if found.tag or found.digest else found.with_tag("latest")


def bare(text: str) -> Reference:
    """The same, where a missing tag stays missing."""
    try:
        return Reference.parse_name(text)
    except InvalidInput:
        raise _wrong(text) from None


def _wrong(text: str) -> InvalidInput:
    if text and text != text.lower():
        try:
            low = Reference.parse(text.lower())
        except InvalidInput:
            pass
        else:
            path = text.partition(":")[0].partition("@")[0]
            shown = f"library/{path}" if low.repository.startswith("library/") and "/" not in path else path
            return InvalidInput(f"invalid reference format: repository name ({shown}) must be lowercase")
    return InvalidInput("invalid reference format")


def platform(request: web.Request) -> str | None:
    """The platform that the query asks for: a word, or the JSON of an OCI platform, as newer requests have
    it. Raises InvalidInput in docker's words."""
    word = request.query.get("platform", "")
    if not word:
        return None
    if word.startswith("{"):
        found = answers.parse(word.encode("utf-8", "surrogatepass"), "platform", answers.FILTERS)
        parts = [found.get(name) or "" for name in ("os", "architecture", "variant")]
        if not all(isinstance(part, str) for part in parts):
            raise InvalidInput("invalid platform: it is no OCI platform")
        word = "/".join(filter(None, parts))
    try:
        Platform.parse(word)
    except InvalidInput:
        raise InvalidInput(f'"{word}": unknown operating system or architecture: invalid argument') from None
    return word


def changes(request: web.Request) -> list[str]:
    """Dockerfile instructions that change the config of an image that is imported or committed. Raises
    InvalidInput in docker's words."""
    found = [
        line for word in request.query.getall("changes", ()) for line in word.splitlines() if line.strip()
    ]
    for line in found:
        word = line.split()[0]
        if word.lower() not in CHANGES:
            raise InvalidInput(f"{brief(word.upper(), 60)} is not a valid change command")
    return found


CHANGES = (
    "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume",
    "workdir",
)  # fmt: skip


@contextmanager
def here(ref: str) -> Iterator[None]:
    """An image that isn't here is told of as docker does."""
    try:
        yield
    except NotFound:
        raise missing(ref) from None
    except InvalidInput:
        if _is_id(ref):
            raise
        parse(ref)  # raises, in docker's words, for what is no name
        raise


def missing(ref: str) -> NotFound:
    if _is_id(ref):
        return NotFound(f"No such image: {ref}")
    return NotFound(f"No such image: {parse(ref).familiar}")


def _is_id(ref: str) -> bool:
    return digests.valid(ref) or (len(ref) == 64 and digests.is_hex(ref))


@contextmanager
def of_registry(reference: Reference) -> Iterator[None]:
    """What a registry refuses or doesn't have, as docker tells it: scripts look for these words."""
    name = reference.familiar
    try:
        yield
    except Denied as error:
        if isinstance(error, NoAccess):
            raise NotFound(
                f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
                f"'docker login': {error.message}"
            ) from None
        raise EngineError(f"unauthorized: {error.message}") from None
    except NotFound as error:
        why = error.message.removeprefix(f"{name} not found: ")
        raise NotFound(f"manifest for {name} not found: manifest unknown: {why}") from None
    except Unavailable as error:
        raise EngineError(error.message) from None
