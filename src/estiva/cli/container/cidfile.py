"""--cidfile: a new file that gets the id of the container (cold path)."""

from __future__ import annotations

import os

from estiva.errors import Conflict
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class CidFile:
    """A with-block around the making of a container: the file is made first and gone again after an error.

    With "" for a path nothing happens. Raises Conflict if the file is there, OSError if it can't be made.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1

    def __enter__(self) -> CidFile:
        if self.path:
            try:
                self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raise Conflict(
                    f"container id file {self.path} is there already", hint="remove it or choose another"
                ) from None
        return self

    def write(self, container_id: str) -> None:
        """Fill the file. Raises OSError."""
        if self.fd >= 0:
            try:
                write_all(self.fd, container_id.encode())
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            if kind is not None:
                os.unlink(self.path)
