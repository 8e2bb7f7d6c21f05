"""Where a path of `cp` leads: on the host, or inside of a container's root, to an fd."""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput, NotFound, oneline, reason
from estiva.linux import fs
from estiva.linux.libc import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.containers.cp.view import View

LINKS = 40  # that a path may lead through, as the kernel has it


class Place:
    """A path of the host (`view` None) or of a container."""

    def __init__(self, path: str, view: View | None = None) -> None:
        if not path:
            raise InvalidInput("the path is empty", hint="CONTAINER:PATH, or a path of the host")
        if "\0" in path:
            raise InvalidInput("a path can't hold a NUL byte")
        self.view = view
        self.given = path
        self.path = "/" + path.lstrip("/") if view is not None else path
        self.shown = oneline(path if view is None else f"{view.name}:{path}")

    @property
    def content(self) -> bool:
        """Whether the words mean what a folder holds, and not the folder: FOLDER/. and the root."""
        return os.path.basename(self.path) == "." or not self.name

    @property
    def slashed(self) -> bool:
        """Whether the words say that it is a folder."""
        return self.path.endswith("/") or os.path.basename(self.path) in (".", "..")

    @property
    def name(self) -> str:
        """What it is called where it is copied into a folder; "" for the root."""
        whole = self.path if self.view is not None else os.path.join(os.getcwd(), self.path)
        return os.path.basename(os.path.normpath(whole))

    def open(self, path: str, flags: int) -> int:
        """openat2(2) of another path on the same side. Raises OSError."""
        if self.view is None:
            return fs.openat2(AT_FDCWD, path, flags)
        return fs.open_in_root(self.view.root, path, flags)

    def source(self, follow: bool) -> int:
        """An O_PATH fd of what is to be copied: a symlink itself unless `follow` or the words say folder."""
        try:
            return self.open(self.path, os.O_PATH | (0 if follow or self.slashed else os.O_NOFOLLOW))
        except OSError as error:
            raise self.problem(error) from None

    def problem(self, error: OSError) -> NotFound | InvalidInput:
        """An error of the kernel about the path, in words."""
        if error.errno == errno.ENOENT:
            return NotFound(f"no such file or folder: {self.shown}")
        if error.errno == errno.ENOTDIR and self.slashed:
            return InvalidInput(f"{self.shown} is not a folder")
        return InvalidInput(f"{self.shown}: {reason(error)}")

    def folder(self) -> int:
        """An O_PATH fd of the folder there, through symlinks; -1 if there is none. Raises InvalidInput."""
        try:
            return self.open(self.path, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return -1
            raise self.problem(error) from None

    def last(self) -> tuple[int, str, os.stat_result | None]:
        """(an O_PATH fd of a folder, a name in it, what is there): where it is or is to be made, after all
        symlinks. The folder must be there. Raises NotFound, InvalidInput.
        """
        path = self.path.rstrip("/")
        for _ in range(LINKS):
            directory, name = os.path.split(path)
            if name in ("", ".", ".."):
                raise NotFound(f"no such folder: {self.shown}")
            try:
                parent = self.open(
                    directory or ("." if self.view is None else "/"), os.O_PATH | os.O_DIRECTORY
                )
            except OSError as error:
                if error.errno == errno.ENOENT:
                    raise NotFound(
                        f"no such folder: {oneline(directory)}, for {self.shown}", hint="parents are not made"
                    ) from None
                raise self.problem(error) from None
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return parent, name, None
            except OSError as error:
                os.close(parent)
                raise self.problem(error) from None
            if not stat.S_ISLNK(found.st_mode):
                return parent, name, found
            try:
                link = os.readlink(name, dir_fd=parent)
            except OSError:
                continue  # it is something else by now
            finally:
                os.close(parent)
            path = link if link.startswith("/") else f"{directory}/{link}" if directory else link
        raise InvalidInput(f"{self.shown}: {os.strerror(errno.ELOOP).lower()}")


def writable(folder: int, place: Place) -> None:
    """Raise InvalidInput where what is to be written into is the kernel's: not a place for files (K5)."""
    if place.view is not None and fs.is_kernel(folder):
        raise InvalidInput(f"{place.shown} is the kernel's own", hint="write it by an exec in the container")


def refuse_kernel(found: int, place: Place) -> None:
    """Raise InvalidInput for a file of procfs, sysfs and the like at `place`, whose O_PATH fd `found` is."""
    if fs.is_kernel(found):
        raise InvalidInput(f"{place.shown} is the kernel's own", hint="read it by an exec in the container")
