"""Where the registry server keeps bytes by digest: a folder of files, or an object store.

    adopt     a complete, synced and verified file becomes the content of a digest
    open      a file to send with sendfile(2), where content is files; else `piece` reads a part
    remove    gone; no error if it was never there

Everything blocks: run it in a thread. Storage (storage.py) sees to it that the removal and the coming of one
digest never cross.
"""

from __future__ import annotations

import errno
import os

from estiva import files
from estiva.errors import InvalidInput, StateError, Unavailable, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")

    class Content(Protocol):
        def adopt(self, aside: str, digest: str) -> None: ...
        def open(self, digest: str) -> int | None:
            """An fd of the content; None where it is no file. Raises StateError if it is missing."""

        def piece(self, digest: str, offset: int, count: int) -> bytes: ...
        def read(self, digest: str, limit: int) -> bytes: ...
        def remove(self, digest: str) -> int:
            """Returns how many bytes went."""

        def everything(self) -> Iterator[tuple[str, int, float]]:
            """(digest, size, seconds since the epoch of its coming) of all there is."""


# What obstore wants apart from a store's own options
CLIENT = ("allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url", "user_agent")


class FileContent:
    """blobs/ALGORITHM/HEX below `root`."""

    def __init__(self, root: str) -> None:
        self.root = root
        for directory in ("", "/blobs", "/blobs/sha256", "/blobs/sha512"):
            os.makedirs(root + directory, mode=0o700, exist_ok=True)

    def path(self, digest: str) -> str:
        """Where the content of a digest that the grammar has accepted is kept."""
        algorithm, _, encoded = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{encoded}"

    def adopt(self, aside: str, digest: str) -> None:
        target = self.path(digest)
        os.rename(aside, target)
        files.sync_directory(os.path.dirname(target))

    def open(self, digest: str) -> int | None:
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise StateError(f"the content of {digest} is missing in {self.root}") from None

    def piece(self, digest: str, offset: int, count: int) -> bytes:
        fd = self.open(digest)
        assert fd is not None
        try:
            return os.pread(fd, count, offset)
        finally:
            os.close(fd)

    def read(self, digest: str, limit: int) -> bytes:
        try:
            return files.read_bounded(self.path(digest), limit)
        except FileNotFoundError:
            raise StateError(f"the content of {digest} is missing in {self.root}") from None

    def remove(self, digest: str) -> int:
        path = self.path(digest)
        try:
            size = os.lstat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return size

    def everything(self) -> Iterator[tuple[str, int, float]]:
        for algorithm in ("sha256", "sha512"):
            with os.scandir(f"{self.root}/blobs/{algorithm}") as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield f"{algorithm}:{entry.name}", status.st_size, status.st_mtime


class ObjectContent:
    """Objects blobs/ALGORITHM/HEX of a store that obstore speaks to: s3://, gs://, az://, file://, memory://."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise Unsupported(
                f"{url} needs the package obstore", hint="pip install 'estiva[registry]'"
            ) from None
        self.url = url
        self.obstore = obstore
        try:
            values = {key.replace("-", "_"): value for key, value in (options or {}).items()}
            client = {key: values.pop(key) for key in CLIENT if key in values}
            named: dict[str, Any] = {**values, **({"client_options": client} if client else {})}
            if url.startswith("file://"):
                os.makedirs(url.removeprefix("file://"), mode=0o700, exist_ok=True)
            self.store: Any = from_url(url, **named)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # obstore's own kinds, ValueError, and pyo3's panics
            raise InvalidInput(f"can't use the storage {url}: {oneline(str(error))[:300]}") from None

    def _key(self, digest: str) -> str:
        return f"blobs/{digest.replace(':', '/')}"

    def _do(self, what: str, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        try:
            return function(self.store, *arguments, **named)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise Unavailable(f"the storage can't {what}: {oneline(str(error))[:300]}") from None

    def adopt(self, aside: str, digest: str) -> None:
        with open(aside, "rb") as file:
            self._do("store", self.obstore.put, self._key(digest), file, max_concurrency=2)
        os.unlink(aside)

    def open(self, digest: str) -> int | None:
        return None

    def piece(self, digest: str, offset: int, count: int) -> bytes:
        try:
            got = self._do(
                "read", self.obstore.get_range, self._key(digest), start=offset, end=offset + count
            )
        except FileNotFoundError:
            raise StateError(f"the content of {digest} is missing in {self.url}") from None
        return bytes(got)

    def read(self, digest: str, limit: int) -> bytes:
        try:
            found = self._do("read", self.obstore.get, self._key(digest))
            if found.meta["size"] > limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), self._key(digest))
            return bytes(found.bytes())
        except FileNotFoundError:
            raise StateError(f"the content of {digest} is missing in {self.url}") from None

    def remove(self, digest: str) -> int:
        try:
            size = int(self._do("look up", self.obstore.head, self._key(digest))["size"])
            self._do("delete", self.obstore.delete, self._key(digest))
        except FileNotFoundError:
            return 0
        return size

    def everything(self) -> Iterator[tuple[str, int, float]]:
        for batch in self._do("list", self.obstore.list, prefix="blobs/"):
            for entry in batch:
                _, algorithm, encoded = ("/" + entry["path"]).rsplit("/", 2)
                yield f"{algorithm}:{encoded}", int(entry["size"]), entry["last_modified"].timestamp()


def make(root: str, storage: Mapping[str, str] | None) -> Content:
    """The content that a registry in `root` uses: its own files, or what [storage] names by `url`."""
    if not storage:
        return FileContent(root)
    options = dict(storage)
    return ObjectContent(options.pop("url"), options)
