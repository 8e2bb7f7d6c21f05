"""Images from and to archives: save, load, import; and out of this machine's programs."""

from __future__ import annotations

from estiva.engine.images import events
from estiva.engine.images.lookup import _platform, resolve
from estiva.errors import InvalidInput, brief
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO, Any

    from estiva.engine import Engine


def save(engine: Engine, refs: Sequence[str], out: IO[bytes]) -> None:
    """Write images as one archive that Docker, Podman and OCI tools load. Others: engine.copies.save."""
    images = [resolve(engine, ref) for ref in refs]
    from estiva.store.archive import save as saving

    saving.save(engine.store, refs, out)
    for image in images:
        events.note(engine, "save", image.id, image.id, image)


def load(
    engine: Engine,
    source: IO[bytes] | str,
    *,
    platform: str | None = None,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> list[str]:
    """Read images of a docker-archive, an oci-archive, or the folder (its path) of an OCI layout; their
    names, or ids where they have none. `progress` is told of layers as they come."""
    from estiva.store.archive import layout
    from estiva.store.archive import load as loading

    if isinstance(source, str):
        folder = layout.Folder(source)
        loading.check_kind(folder)
        names = loading.load(engine.store, folder, platform=_platform(platform), progress=progress)
    else:
        names = loading.load(engine.store, source, platform=_platform(platform), progress=progress)
    for name in names:
        image = engine.store.images.find(name)
        if image is not None:
            events.note(engine, "load", image.id, image.id, image)
    return names


def import_(
    engine: Engine,
    source: IO[bytes],
    reference: str | None = None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str | None = None,
) -> str:
    """Make an image of one layer out of a tar of a filesystem; its id."""
    if reference:
        Reference.parse(reference)
    from estiva.builder.steps.changes import apply_changes
    from estiva.store.archive import save as saving

    image = saving.import_tar(
        engine.store,
        source,
        message,
        change=lambda config: apply_changes(config, list(changes)),
        platform=_platform(platform),
    )
    if reference:
        engine.store.images.tag(image.id, reference)
    events.note(engine, "import", image.id, reference or image.id, image)
    return image.id


def fetched(engine: Engine, url: str) -> IO[bytes]:
    """What an http(s) address gives, in a file without a name, for `import_`. Raises InvalidInput,
    Unavailable."""
    import os

    from estiva.builder.fetch import address
    from estiva.builder.files import download

    if not address.is_http(url):
        raise InvalidInput(f"{brief(url, 100)} is no address of http or https")
    fd = os.open(engine.store.paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        download.fetch(url, fd)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb")


def from_host(
    engine: Engine,
    programs: Sequence[str],
    *,
    name: str | None = None,
    files: Sequence[str] = (),
    data: Mapping[str, bytes] | None = None,
    config: Mapping[str, object] | None = None,
    created_by: str = "",
    platform: str | None = None,
) -> str:
    """Make an image out of this machine's own programs (see estiva.engine.images.from_host.make); its id."""
    from estiva.engine.images.from_host import make as maker

    made = maker.make(
        engine.store,
        programs,
        tag=name,
        extra_files=files,
        data=data,
        config=config,
        created_by=created_by,
        platform=platform,
    )
    return made.id
