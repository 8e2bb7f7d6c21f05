"""Where a layer can be read: mounts under the run root, made on first use and shared by all containers.

    Mounts.mount([base .. top]) -> Lowerdirs: the overlay's lowerdirs, topmost first, and a shared flock

The flock (run root, layers.lock) keeps `sweep` away until the caller's overlay stands; the overlay then
holds the filesystems by itself and the lock can go. Whether a layer is mounted is seen by its directory's
device number.

Overlayfs takes a directory's mode and owner from the topmost layer that has it. A layer that needs `a/` for
`a/b` but does not name it must not decide that, so chains with such layers get one more lowerdir on top
(store/layers/implied.py), made once per chain and remembered in fixups/TOP/chains, a line for each chain:

    NAME DEPTH DIFFID,DIFFID,...    NAME "-" for none, DEPTH the layers from the top that count

On the cold path this module stats every layer and reads one file.
"""

from __future__ import annotations

import errno
import fcntl
import os

from estiva import errors
from estiva.files import Lock
from estiva.store.layers import soundness
from estiva.store.layers.layer import HEX, Damaged, chains, layer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiva.paths import Paths
    from estiva.store.database import Database

LOCK = "layers"
MOUNT_LOCK = "layers-mount"
DAMAGE = (errno.EINVAL, errno.EIO, errno.EUCLEAN, errno.EBADMSG)  # of mount(2), for what no layer looks like
STATE = "state:"  # begins, in a chain, what is no layer but a state (store/states.py)
STRING_MAX = 250  # fsconfig(2) takes 255 bytes

# What every overlay of ours is mounted with: a snapshot's upper must hold plain files and directories only,
# so that it can be packed, and nothing in a layer may redirect a name elsewhere.
OVERLAY_OPTIONS = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))


class Lowerdirs(list[str]):
    """The lowerdirs of an overlay, topmost first; their mounts stay until `release` (or the object's end)."""

    fd = -1

    def release(self) -> None:
        """Let sweepers at the mounts, once the overlay is mounted. Also for copies in forked children."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def __enter__(self) -> Lowerdirs:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)  # no unlock: in a forked child that would take the lock from the parent


class Mounts:
    """The layer mounts of one run root."""

    def __init__(self, paths: Paths, db: Database) -> None:
        self.paths = paths
        self.db = db

    def mount(self, diff_ids: Sequence[str]) -> Lowerdirs:
        """The lowerdirs of a chain, given base first. Mounts what is not mounted yet.

        Raises NotFound for a layer that is not in the store, EngineError when it can't be mounted.
        """
        if not diff_ids:
            raise errors.InvalidInput("an image without layers has no root filesystem to mount")
        result = Lowerdirs()
        result.fd = os.open(self.paths.lock(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(result.fd, fcntl.LOCK_SH)
        device = os.stat(self.paths.run_layers).st_dev
        # a layer that is twice in a chain has a say only where it is topmost, and overlayfs refuses a second
        chain = list(dict.fromkeys(reversed(diff_ids)))
        above = [self.state(found) for found in chain if found.startswith(STATE)]
        chain = chain[len(above) :]  # which are its topmost
        for diff_id in chain:
            name = layer_name(diff_id)
            path = f"{self.paths.run_layers}/{name}"
            try:
                if os.stat(path).st_dev == device:
                    path = self._provide(name, path, device)
            except FileNotFoundError:
                path = self._provide(name, path, device)
            result.append(path)
        if len(chain) > 1:
            self._fix(result, chain)
        result[:0] = above
        return result

    def state(self, word: str) -> str:
        """The directory of a state, which a chain has as "state:ID". Raises InvalidInput."""
        name = word.removeprefix(STATE)
        if len(name) != 64 or not HEX.issuperset(name):
            raise errors.InvalidInput(f"{word[:80]!r} is no state")
        return f"{self.paths.states}/{name}/fs"

    def places(self, diff_ids: Sequence[str]) -> list[str]:
        """Where the layers of a chain, given base first, are while they are in use: topmost first."""
        chain = list(dict.fromkeys(reversed(diff_ids)))
        above = [self.state(found) for found in chain if found.startswith(STATE)]
        names = map(layer_name, chain[len(above) :])
        stored = ((f"{self.paths.layers}/{name}/fs", f"{self.paths.run_layers}/{name}") for name in names)
        return above + [own if os.path.isdir(own) else mounted for own, mounted in stored]

    def _provide(self, name: str, path: str, device: int) -> str:
        """The directory of a layer that is not mounted: a dir layer's own, or a new mount."""
        layer = f"{self.paths.layers}/{name}"
        if os.path.isdir(layer + "/fs"):
            return layer + "/fs"
        index, tar = layer + "/index.erofs", f"{self.paths.blobs}/sha256/{name}"
        if not os.path.isfile(index):
            index, tar = layer + "/image.erofs", ""  # erofs-lz4: all is in one file
        found = soundness.find(self.db, f"sha256:{name}")
        if found is None:
            raise errors.NotFound(f"layer sha256:{name} is not in the store", hint="pull its image again")
        wrong = soundness.finding(self.paths, found)
        if wrong:
            raise Damaged(found.diff_id, wrong)
        with Lock(self.paths.lock(MOUNT_LOCK)):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                if os.stat(path).st_dev != device:
                    return path  # somebody else was faster
            rows = self.db.read("SELECT value FROM meta WHERE key = 'storage_driver'")
            directio = not rows or rows[0][0] != "erofs"
            try:
                try:
                    attach_erofs(index, tar, path, directio=directio)
                except OSError as error:
                    if not directio or error.errno != errno.EINVAL:
                        raise
                    attach_erofs(index, tar, path, directio=False)
            except OSError as error:
                if error.errno in DAMAGE:
                    raise Damaged(f"sha256:{name}", f"it can't be mounted, {errors.reason(error)}") from error
                raise errors.EngineError(
                    f"mounting layer sha256:{name} failed: {errors.reason(error)} ({error.filename})"
                ) from error
        return path

    def _fix(self, lowers: Lowerdirs, diff_ids: list[str]) -> None:
        top = layer_name(diff_ids[0])
        chain = ",".join(diff_ids)
        fixups = f"{self.paths.fixups}/{top}"
        for known in chains(fixups + "/chains"):
            if known[2] == chain and (known[0] == "-" or os.path.isdir(f"{fixups}/{known[0]}")):
                name, depth, _ = known
                break
        else:
            from estiva.store.layers.implied import make

            name, depth = make(self.paths, self.db, list(lowers), diff_ids)
        del lowers[int(depth) :]
        if name != "-":
            lowers.insert(0, f"{fixups}/{name}")

    def unmount(self, name: str) -> bool:
        """Unmount the layer of that hex name; False if it was not. Running containers keep what they have."""
        path = f"{self.paths.run_layers}/{name}"
        try:
            if os.stat(path).st_dev == os.stat(self.paths.run_layers).st_dev:
                mounted = False
            else:
                from estiva.linux import mount as linux_mount

                linux_mount.umount2(path, linux_mount.MNT_DETACH)
                mounted = True
            os.rmdir(path)
        except FileNotFoundError:
            return False
        return mounted

    def sweep(self, keep: Iterable[str]) -> int:
        """Unmount every layer whose diffID is not in `keep`; returns how many. Does nothing while anybody
        sets up a container: the next sweep comes.
        """
        kept = {diff_id.rpartition(":")[2] for diff_id in keep}
        count = 0
        try:
            with Lock(self.paths.lock(LOCK), blocking=False), Lock(self.paths.lock(MOUNT_LOCK)):
                for name in os.listdir(self.paths.run_layers):
                    if name not in kept:
                        count += self.unmount(name)
        except BlockingIOError:
            pass
        return count


def attach_erofs(index: str, tar: str, mountpoint: str, *, directio: bool) -> None:
    """Mount an EROFS image at `mountpoint`; see `open_erofs`."""
    from estiva.linux import mount as linux_mount
    from estiva.linux.libc import AT_FDCWD

    fd = open_erofs(index, tar, directio=directio)
    try:
        linux_mount.move_mount(fd, "", AT_FDCWD, mountpoint)
    finally:
        os.close(fd)


def open_erofs(index: str, tar: str, *, directio: bool) -> int:
    """A detached read-only mount of the EROFS image `index`, whose data lies in `tar` ("": in itself); the
    caller closes it.

    directio: file data is not cached twice, once for the layer's files and once for the tar. Raises OSError.
    """
    held: list[int] = []
    try:
        options = [("source", _short(index, held))]
        if tar:
            options.append(("device", _short(tar, held)))
        if directio:
            options.append(("directio", ""))
        from estiva.linux import mount as linux_mount

        return linux_mount.new_filesystem("erofs", options, linux_mount.MOUNT_ATTR_RDONLY)
    finally:
        for fd in held:
            os.close(fd)


def _short(path: str, held: list[int]) -> str:
    if len(os.fsencode(path)) <= STRING_MAX:
        return path
    held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    return f"/proc/self/fd/{held[-1]}"
