"""Snapshots: a read-write directory over a chain of layers.

    prepare -> Snapshot -> mount -> (a container or a build step works in it) -> changes | commit | discard

Nothing is mounted on the host: `mount` gives a detached overlay by fd, to be attached in another mount
namespace or used with linux.fs.open_in_root. A container's snapshot lies in its own directory, another's
below ingest/, under a flock.
"""

from __future__ import annotations

import os
import stat

from estiva import errors, files
from estiva.store.layers.mounts import OVERLAY_OPTIONS, STATE, Lowerdirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.paths import Paths
    from estiva.store.layers.layer import Layer
    from estiva.store.layers.layers import Layers
    from estiva.store.layers.sink import TarSink

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Snapshot:
    """One read-write layer. upper, work: overlayfs' directories; diff_ids: what lies below, base first: the
    layers, and above them the states (store/states.py) that it stands on, which are changes like its own.
    `on` are snapshots, the lowest first, that lie on those, for it no less than layers: nobody changes them
    any more, and they stay for as long as it does.
    """

    def __init__(
        self, layers: Layers, diff_ids: Sequence[str], directory: str, on: Sequence[Snapshot] = ()
    ) -> None:
        self.layers = layers
        self.on = list(on)
        self.diff_ids = list(diff_ids)
        self.states = [found for found in self.diff_ids if found.startswith(STATE)]
        self.directory = directory
        self.upper = directory + "/upper"
        self.work = directory + "/work"
        self.lock = -1  # the flock on a snapshot of our own in ingest/

    def lowerdirs(self) -> Lowerdirs:
        """The overlay's lowerdirs, topmost first; release them once the overlay is mounted."""
        lowers = self.layers.mount(self.diff_ids) if self.diff_ids or not self.on else Lowerdirs()
        lowers[:0] = [each.upper for each in reversed(self.on)]
        return lowers

    def mount(self, readonly: bool = False, beneath: Sequence[str] = ()) -> int:
        """A detached mount of the whole; the caller closes the fd.

        readonly: for looking, also while a container works in it (its upper is then one more lowerdir).
        beneath: directories that lie below the layers.
        """
        with self._lowers() as lowers:
            if readonly:
                return overlay([self.upper, *lowers, *beneath], None, None)
            self.settle()
            return overlay([*lowers, *beneath], self.upper, self.work)

    def settle(self) -> None:
        """Let it be mounted again where the last mount was "volatile": overlayfs refuses that until its mark
        is gone, as a crash of the machine may have lost writes (overlayfs.rst, "Volatile mount"). For one
        that does not outlive the machine's run.
        """
        mark = self.work + "/work/incompat"
        if os.path.isdir(mark):
            files.remove_tree(mark)

    def _lowers(self) -> Lowerdirs:
        if self.diff_ids or self.on:
            return self.lowerdirs()
        return Lowerdirs([_empty(self.layers.paths)])  # FROM scratch

    def changes(self) -> list[tuple[str, str]]:
        """[("A" | "C" | "D", "/path")], sorted by path, as docker diff tells: parents of changes are C."""
        from estiva.store.layers.changes import Changes

        with Both(self) as (upper, lower):
            return Changes(upper, lower).run()

    def commit(self, look: Callable[[], object] | None = None) -> Layer:
        """Make a layer of the changes; without any, that of an empty tar. `look` is called for each of them,
        and each MiB: what it raises ends that. Raises EngineError, LayerError.
        """
        from estiva.store.layers.pack import pack

        with Both(self) as (upper, lower), self.layers.sink() as sink:
            pack(upper, lower, sink if look is None else _Asking(sink, look))
            return self.layers.commit(sink)

    def size(self) -> int:
        """Bytes of the files in the upper directory, each inode once."""
        from estiva.store.layers.pack import walk_files

        sizes: dict[tuple[int, int], int] = {}

        def count(found: os.stat_result) -> None:
            if stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_size

        fd = os.open(self.upper, _DIRECTORY)
        try:
            walk_files(fd, count)
        finally:
            os.close(fd)
        return sum(sizes.values())

    def discard(self) -> None:
        """Remove upper and work, and the directory if it was made for this snapshot."""
        if self.lock >= 0:
            lock, self.lock = self.lock, -1
            try:
                files.remove_tree(self.directory)
            finally:
                os.close(lock)  # so that what could not be removed is swept
        else:
            files.remove_tree(self.upper)
            files.remove_tree(self.work)


class _Asking:
    """Calls `look` before each piece that is written."""

    def __init__(self, sink: TarSink, look: Callable[[], object]) -> None:
        self.sink = sink
        self.look = look

    def write(self, data: bytes, /) -> None:
        self.look()
        self.sink.write(data)


class Both:
    """A block that has fds of all that a snapshot changes of its image, the states that it stands on
    included, and of the image's layers. Nobody may write to it meanwhile, if it stands on states."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.fds: list[int] = []
        self.merged: tuple[int, str] | None = None  # lock and path of what was made for it

    def __enter__(self) -> tuple[int, int]:
        snapshot = self.snapshot
        paths = snapshot.layers.paths
        try:
            upper = snapshot.upper
            if snapshot.states:
                from estiva.store.layers.merge import merge

                self.merged = files.new_directory(paths.ingest, ".snapshot")
                upper = self.merged[1] + "/upper"
                os.mkdir(upper, 0o700)
                below = map(snapshot.layers.mounts.state, reversed(snapshot.states))
                merge([snapshot.upper, *below], upper, copied=0)
            self.fds.append(os.open(upper, _DIRECTORY))
            layers = snapshot.diff_ids[: len(snapshot.diff_ids) - len(snapshot.states)]
            with Snapshot(snapshot.layers, layers, snapshot.directory, snapshot.on)._lowers() as lowers:
                self.fds.append(overlay(lowers, None, None))
        except BaseException:
            self.__exit__()
            raise
        return self.fds[0], self.fds[1]

    def __exit__(self, *exception: object) -> None:
        while self.fds:
            os.close(self.fds.pop())
        if self.merged is not None:
            lock, path = self.merged
            self.merged = None
            files.remove_tree(path)
            os.close(lock)


class Snapshots:
    """Makes snapshots over the layers of one store."""

    def __init__(self, paths: Paths, layers: Layers) -> None:
        self.paths = paths
        self.layers = layers

    def prepare(
        self, diff_ids: Sequence[str], directory: str | None = None, on: Sequence[Snapshot] = ()
    ) -> Snapshot:
        """A snapshot over a chain (base first) and `on` that others in `directory`, which may have one
        already; without `directory` in one of its own, which `discard` removes and which is swept when its
        process dies.

        The upper directory shows as the root of the overlay, so it gets the mode and owner of the root below.
        """
        lock = -1
        if directory is None:
            lock, directory = files.new_directory(self.paths.ingest, ".snapshot")
        snapshot = Snapshot(self.layers, diff_ids, directory, on)
        snapshot.lock = lock
        if os.path.isdir(snapshot.work):
            return snapshot
        try:
            with snapshot._lowers() as lowers:
                make_upper(snapshot.upper, lowers[0])
            os.mkdir(snapshot.work, 0o700)  # last: its presence tells that the upper is done
        except BaseException:
            snapshot.discard()
            raise
        return snapshot

    def view(self, diff_ids: Sequence[str], on: Sequence[Snapshot] = ()) -> int:
        """A detached read-only mount of a chain, and of snapshots on it; the caller closes the fd."""
        with Snapshot(self.layers, diff_ids, "", on)._lowers() as lowers:
            return overlay(lowers, None, None)


def make_upper(path: str, lower: str) -> None:
    """Make an upper directory with the mode, owner and time of the root of the topmost `lower`."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if os.listdir(path):
            return
    found = os.stat(lower)
    os.chown(path, found.st_uid, found.st_gid)
    os.chmod(path, stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def overlay(lowers: Sequence[str], upper: str | None, work: str | None) -> int:
    """linux.mount.overlay with the options that all our overlays have. Raises EngineError."""
    try:
        from estiva.linux import mount as linux_mount

        return linux_mount.overlay(lowers, upper, work, options=OVERLAY_OPTIONS)
    except OSError as error:
        raise errors.EngineError(f"mounting {error.filename}: {errors.reason(error)}") from error


def _empty(paths: Paths) -> str:
    """An empty directory, the layer below everything of an image without layers."""
    path = paths.fixups + "/empty"
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return path
    os.chmod(path, 0o755)
    return path
