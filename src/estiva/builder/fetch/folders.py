"""Folders of what was fetched: a repository's checkout, an archive's files, a single file of the web's.

All are made in the build's workspace, 0700, so nobody changes them while they are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from estiva.builder.fetch import credentials
from estiva.builder.fetch.mirrors import Mirrors
from estiva.builder.fetch.places import open_folder
from estiva.builder.fetch.repository import Commit, Repository
from estiva.builder.files import download, untar, url
from estiva.builder.files.destination import Destination
from estiva.builder.files.tree import Tree
from estiva.errors import (
    FREE_SPACE,
    FULL,
    InvalidInput,
    LayerError,
    NotFound,
    Unavailable,
    Unsupported,
    oneline,
    reason,
)
from estiva.files import write_all
from estiva.store.archive import compression

if TYPE_CHECKING:
    from estiva.builder.fetch.address import GitAddress
    from estiva.builder.fetch.told import Told
    from estiva.builder.files.workspace import Workspace
    from estiva.builder.request import Readable, Request

    Fetching = Callable[[str, str], Told]  # of a kind and a name

NAME = "context"  # of the file that a URL gave which is no archive, as with docker


def repository(
    request: Request,
    workspace: Workspace,
    address: GitAddress,
    look: Callable[[], None],
    told: Told | None = None,
) -> Repository:
    """The repository of an address, with the build's credentials; close it. `look`: see bounded.run."""
    return Repository(
        address,
        lambda other: credentials.of_git(request, other, address),
        workspace.directory,
        workspace.secret_base,
        look,
        Mirrors(workspace.base),
        heard=told.heard if told is not None else None,
    )


def resolve(request: Request, found: Repository) -> Commit:
    """The commit that an address leads to, the same for all of a build, wherever the ref is by then."""
    address = found.address
    key = f"{address}\0{address.checksum}\0{address.by_commit}"
    if key not in request.commits:
        request.commits.setdefault(key, found.resolve())
    commit: Commit = request.commits[key]
    return commit


def checkout(workspace: Workspace, found: Repository, commit: Commit, *, keep: bool, mtime: bool) -> Tree:
    """The files of a commit, or of the folder that the address names, which then is without .git."""
    address = found.address
    folder = workspace.directory()
    keep = keep and not address.folder
    found.checkout(commit, folder, keep=keep, submodules=address.submodules is not False, mtime=mtime)
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not address.folder:
        return Tree(top)
    try:
        return Tree(open_folder(top, address.folder))
    except (NotFound, InvalidInput) as error:
        error.message = f"{address}: {error.message}"
        raise
    finally:
        os.close(top)


def unpacked(workspace: Workspace, pieces: Iterator[bytes], look: Callable[[], None]) -> Tree:
    """The files of a tar archive, compressed or not, with their owners, as docker keeps them.

    Raises InvalidInput for one that is malformed or hostile.
    """
    folder = os.open(workspace.directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    scratch = os.open(workspace.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        untar.Extraction(folder, Destination(folder), look).feed(compression.decompress(pieces), scratch)
    except (LayerError, Unsupported) as error:
        os.close(folder)
        raise InvalidInput(f"the archive of the build context can't be unpacked: {error}") from None
    except OSError as error:
        os.close(folder)
        if error.errno in FULL:
            raise Unavailable(f"no space left in {workspace.path}", hint=FREE_SPACE) from None
        why = f"{reason(error)}: {oneline(str(error.filename or ''))[:200]}".rstrip(": ")
        raise InvalidInput(f"the archive of the build context can't be unpacked: {why}") from None
    except BaseException:
        os.close(folder)
        raise
    finally:
        os.close(scratch)
    return Tree(folder, owners=True)


def of_stream(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(compression.PIECE):
        yield piece


def of_url(
    request: Request,
    workspace: Workspace,
    address: str,
    look: Callable[[], None],
    fetching: Fetching,
    *,
    unpack: bool,
) -> tuple[Tree, bool]:
    """(files, whether they are an archive's): those of an archive with `unpack`, else the one file NAME."""
    fd = os.open(workspace.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        header = credentials.of_url(request, address)
        with fetching("http", url.redacted(address)) as told:
            got = download.fetch(address, fd, header=header, look=look, told=told)
        request.note(url.redacted(address), got.content)
        os.lseek(fd, 0, os.SEEK_SET)
        with open(os.dup(fd), "rb", buffering=0) as file:
            if unpack and untar.is_archive(fd):
                return unpacked(workspace, of_stream(file), look), True
            folder = workspace.directory()
            made = os.open(f"{folder}/{NAME}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                for piece in of_stream(file):
                    write_all(made, piece)
                if got.mtime_ns is not None:
                    os.utime(made, ns=(got.mtime_ns, got.mtime_ns))
            finally:
                os.close(made)
            return Tree(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)), False
    finally:
        os.close(fd)


def text_of(
    request: Request, workspace: Workspace, address: str, look: Callable[[], None], limit: int
) -> bytes:
    """A small file of the web's, at most `limit` bytes."""
    fd = os.open(workspace.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with open(fd, "rb", buffering=0) as file:
        download.fetch(address, fd, header=credentials.of_url(request, address), limit=limit, look=look)
        file.seek(0)
        return b"".join(of_stream(file))
