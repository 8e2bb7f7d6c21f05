"""User verbs on volumes, in the shapes of the Docker Engine API."""

from __future__ import annotations

import os

from estiva.engine.state import eventlog
from estiva.errors import InvalidInput
from estiva.store.volumes import check_new_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from estiva.engine import Engine
    from estiva.store.tar.entry import Entry
    from estiva.store.volumes import Volume

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILTERS = ("name", "label", "dangling", "driver")
PRUNE_FILTERS = ("label", "label!", "all")
ANONYMOUS = "com.docker.volume.anonymous"  # Docker's label of those whose name nobody has chosen


def create(
    engine: Engine,
    name: str | None = None,
    labels: dict[str, str] | None = None,
    *,
    driver: str = "local",
    options: dict[str, str] | None = None,
) -> str:
    """Make a volume, or take the one that is there; its name. `options` are those of the driver: type,
    device, o. Raises InvalidInput, Unsupported.
    """
    if options or driver != "local":
        from estiva.engine.spec.storage import volume_options

        volume_options.check(name or "", driver, options or {})
    if name is not None:
        check_new_name(name)
    made = engine.store.volumes.create(name, labels or {}, options=options)
    if made.new:
        eventlog.write(engine.paths, "volume", "create", made.name, {"driver": "local"})
    return made.name


def listing(engine: Engine, filters: dict[str, list[str]] | None = None) -> list[dict[str, Any]]:
    """All volumes by name. Filters: name (an expression), label, dangling, driver."""
    from estiva.engine.images.filters import truth

    filters = filters or {}
    for key, values in filters.items():
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{key}'", hint=f"one of {', '.join(FILTERS)}")
        for value in values if key == "dangling" else ():
            truth(key, value)
    volumes = engine.store.volumes.list()
    if "name" in filters:
        from estiva.engine.state.expression import any_of

        named = any_of(filters["name"])
        volumes = [volume for volume in volumes if named(volume.name)]
    return [_shape(volume) for volume in volumes if _matches(engine, volume, filters)]


def _matches(engine: Engine, volume: Volume, filters: dict[str, list[str]]) -> bool:
    if "driver" in filters and "local" not in filters["driver"]:
        return False
    for value in filters.get("label", ()):
        key, equals, wanted = value.partition("=")
        labels = _labels(volume)
        if key not in labels or (equals and labels[key] != wanted):
            return False
    for value in filters.get("dangling", ()):
        if (value.lower() in ("true", "1")) == bool(engine.store.volumes.in_use_by(volume.name)):
            return False
    return True


def _labels(volume: Volume) -> dict[str, str]:
    return {ANONYMOUS: "", **volume.labels} if volume.anonymous else volume.labels


def _shape(volume: Volume) -> dict[str, Any]:
    from estiva.timestamps import rfc3339

    return {
        "CreatedAt": rfc3339(int(volume.created) * 10**9, short=True),
        "Driver": "local",
        "Labels": _labels(volume) or None,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """What is known of a volume. Raises NotFound."""
    return _shape(engine.store.volumes.get(name))


def remove(engine: Engine, name: str, *, force: bool = False) -> None:
    """Remove a volume with its files. Raises Conflict while a container has it; NotFound unless `force`."""
    there = engine.store.volumes.find(name) is not None
    engine.store.volumes.remove(name, force=force)
    if there:
        eventlog.write(engine.paths, "volume", "destroy", name, {"driver": "local"})


def opened(engine: Engine, name: str) -> int:
    """An fd of a volume's top folder, the caller's to close; of what its options say is mounted in its place.
    Raises NotFound, and what keeps it from being mounted.
    """
    volume = engine.store.volumes.get(name)
    if not volume.options:
        return os.open(volume.path, FOLDER)
    from estiva.engine.mounts import volume_mount

    mounted = volume_mount.volume(engine, name)
    try:
        return os.open(".", FOLDER, dir_fd=mounted)
    finally:
        os.close(mounted)


def export(engine: Engine, name: str, out: IO[bytes]) -> None:
    """What a volume holds, as a tar stream."""
    from estiva.store.layers.pack import write_tree

    top = opened(engine, name)
    try:
        write_tree(top, out)
    finally:
        os.close(top)


def load(engine: Engine, name: str, stream: IO[bytes]) -> None:
    """Unpack a tar, plain or compressed, into a volume, with owners and modes; links in it lead nowhere but
    below its top. What is there under the same names is replaced. Raises NotFound, InvalidInput.
    """
    from estiva.builder.files.destination import Destination
    from estiva.builder.files.untar import Extraction
    from estiva.errors import LayerError, Unsupported
    from estiva.store.archive import compression
    from estiva.store.tar.entry import shown

    class Unpacking(Extraction):
        def _member(self, entry: Entry) -> None:
            try:
                super()._member(entry)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"volume {name}: {shown(entry.name)}") from None

    top = opened(engine, name)
    scratch = -1
    try:
        scratch = os.open(engine.paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        pieces = compression.decompress(iter(lambda: stream.read(compression.PIECE), b""))
        Unpacking(top, Destination(top)).feed(pieces, scratch)
    except (LayerError, Unsupported) as error:
        raise InvalidInput(f"the archive can't be unpacked into volume {name}: {error}") from None
    finally:
        os.close(top)
        if scratch >= 0:
            os.close(scratch)


def prune(
    engine: Engine, *, all: bool = False, filters: dict[str, list[str]] | None = None
) -> tuple[list[str], int]:
    """Remove anonymous volumes (`all`: named ones too) that no container has: (names, bytes freed). Those
    with options stay: what they stand for is somebody's elsewhere. `filters`: see PRUNE_FILTERS; all=true is
    as `all`. Raises InvalidInput.
    """
    from estiva.engine.images.filters import truth
    from estiva.engine.state.prune_filters import Pruned

    for value in (filters or {}).get("all", ()):
        all = truth("all", value)
    wanted = Pruned(filters, PRUNE_FILTERS)
    volumes = engine.store.volumes

    def fits(volume: Volume) -> bool:
        return not volume.options and wanted.takes(volume.created, volume.labels)

    unused = [
        volume
        for volume in volumes.list()
        if (volume.anonymous or all) and fits(volume) and not volumes.in_use_by(volume.name)
    ]
    sizes = {volume.name: volumes.size(volume.name) for volume in unused}
    removed = volumes.prune(all=all, fits=fits)
    freed = sum(sizes.get(name, 0) for name in removed)
    lines = [eventlog.line("volume", "destroy", name, {"driver": "local"}) for name in removed]
    lines.append(eventlog.line("volume", "prune", "", {"reclaimed": str(freed)}))
    eventlog.append(engine.paths, *lines)
    return removed, freed
