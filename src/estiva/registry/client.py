"""The registry client for callers: pull, push, login, logout, and looking at what a registry has.

Plain functions, each with an event loop of its own while it runs. Not for a thread that runs a loop already.
"""

from __future__ import annotations

import asyncio

from estiva.errors import Denied, InvalidInput, oneline
from estiva.oci.reference import DEFAULT_REGISTRY, Reference
from estiva.registry.http import credentials as credential_files
from estiva.registry.http.errors import read_small
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Transport, retrying
from estiva.registry.transfer.plan import AS_IT_CAME, Packing
from estiva.registry.transfer.progress import Progress
from estiva.registry.transfer.pull import Pull
from estiva.registry.transfer.push import Push

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.transfer.progress import Callback
    from estiva.store import Store
    from estiva.store.images import Image


def pull(
    store: Store,
    ref: Reference,
    *,
    platform: str | None = None,
    every: bool = False,
    name: Reference | None = None,
    progress: Callback | None = None,
    config: Settings | None = None,
) -> Image:
    """Bring the image that `ref` means, for `platform` (default: this machine's), into the store.

    `every`: the images of all platforms, under one name. `name`: what it is called here, by default as there.

    `progress` gets events {"id": short digest, "status": "waiting|downloading|retrying|extracting|done|
    exists", "current": bytes, "total": bytes, "message"}. A pull that ended early goes on from the bytes on
    the disk. Raises NotFound, Denied, IntegrityError, Unavailable, Unsupported, InvalidInput.
    """
    settings = config or Settings.from_environment()
    with store.writing():
        return asyncio.run(
            Pull(store, ref, platform, Progress(progress), settings, every=every, name=name).run()
        )


def push(
    store: Store,
    image: Image,
    ref: Reference,
    *,
    packing: Packing = AS_IT_CAME,
    index: str = "",
    progress: Callback | None = None,
    config: Settings | None = None,
) -> str:
    """Send `image` to the registry as `ref`; returns the manifest's digest.

    `index`: the digest of an index in the store whose images are to go, all that are here.

    `progress` as for `pull`, with "pushing" and "mounted". Raises Denied, IntegrityError, Unavailable.
    """
    settings = config or Settings.from_environment()
    with store.writing():
        return asyncio.run(
            Push(store, image, ref, Progress(progress), settings, packing=packing, index=index).run()
        )


def login(host: str, user: str, password: str, *, config: Settings | None = None) -> str:
    """Try credentials at a registry, and keep them if they are good. Returns where they were put.

    Raises Denied if the registry refuses them, InvalidInput for a bad host or user.
    """
    host = registry_host(host)
    if not user or ":" in user or not user.isprintable():
        raise InvalidInput(f"invalid user name {oneline(user)!r}")
    settings = config or Settings.from_environment()
    credentials = credential_files.Credentials(user, password)
    asyncio.run(_verify(host, credentials, settings))
    return credential_files.store(host, credentials, auth_file=settings.auth_file)


def logout(host: str, *, config: Settings | None = None) -> bool:
    """Forget the credentials of a registry. False: there were none."""
    settings = config or Settings.from_environment()
    return credential_files.erase(registry_host(host), auth_file=settings.auth_file)


def registry_host(text: str) -> str:
    """The canonical HOST[:PORT] of what a user calls a registry ("" is Docker Hub). Raises InvalidInput."""
    text = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    if text in ("", "index.docker.io", "index.docker.io/v1", "registry-1.docker.io", "hub.docker.com"):
        return DEFAULT_REGISTRY
    if "/" in text:
        raise InvalidInput(
            f"{oneline(text)} is not a registry's host", hint="leave out what follows the host"
        )
    known = text if "." in text or ":" in text or text == "localhost" else f"{text}:443"
    Reference.parse(f"{known}/x")
    return text


def verify(host: str, credentials: credential_files.Credentials, *, config: Settings | None = None) -> None:
    """Try credentials at a registry, and keep them nowhere. Raises Denied, Unavailable."""
    asyncio.run(_verify(registry_host(host), credentials, config or Settings.from_environment()))


async def _verify(host: str, credentials: credential_files.Credentials, settings: Settings) -> None:
    async with Transport(settings) as transport:
        remote = await transport.remote(host)
        remote.authorizer.credentials = credentials

        async def once() -> None:
            response = await remote.request("GET", "/v2/", scopes=frozenset(), subject=host)
            await read_small(response, 1 << 16, cut=True)

        try:
            await retrying(settings, once)
        except Denied as error:
            raise Denied(f"login to {host} failed: wrong user or password ({error})") from None
