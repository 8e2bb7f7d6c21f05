"""What a case is, and what its context is made of."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import pathlib
import tarfile
from collections.abc import Mapping
from typing import Any

OLD = 981_173_106  # 2001-02-03 04:05:06 UTC: the time of all that a context has, unless it says another
COMPRESS: dict[str, Any] = {
    "": bytes,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
ASPECTS = ("verdict", "config", "history", "tree")

CASES: list[Case] = []


@dataclasses.dataclass
class Case:
    """One Dockerfile, built by both.

    files     of the context; `beside` lies next to it, where the build is started
    options   of the build; @ at the begin of a word is the context
    before    Dockerfiles whose images are NAME-1, NAME-2, ... when the case itself is built
    fails     what the reference's message has to match when both refuse it; "" when both build it
    differs   aspect -> why it is meant to differ; it has to
    changed   aspect -> what frontends before 1.20 do otherwise: theirs is looked over
    wanted    what is not as the reference has it yet, and is to be: the case is expected to fail
    older     what an older frontend is told instead, to the same tree and config
    since     the frontend that the text needs; for one that is older, `older` is built, or nothing
    """

    name: str
    text: str
    files: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    fails: str = ""
    differs: dict[str, str] = dataclasses.field(default_factory=dict)
    changed: dict[str, str] = dataclasses.field(default_factory=dict)
    wanted: str = ""
    older: str = ""
    since: tuple[int, ...] = ()
    stdin: str | None = None
    env: dict[str, str] = dataclasses.field(default_factory=dict)

    def lay(self, folder: str, text: str) -> None:
        """Make the case's files: the context, and what is beside it.

        The context has the case's name: BuildKit takes files of one path, size and time in contexts of one
        name for the same.
        """
        files = {**self.files, **({} if "Dockerfile" in self.files else {"Dockerfile": text})}
        os.makedirs(f"{folder}/{self.name}")
        make(f"{folder}/{self.name}", files)
        make(folder, self.beside)


def case(name: str, text: str, **more: Any) -> None:
    options = more.pop("options", ())
    options = tuple(options.split()) if isinstance(options, str) else tuple(options)
    before = more.pop("before", ())
    before = (before,) if isinstance(before, str) else tuple(before)
    made = Case(name, text.lstrip("\n"), options=options, before=before, **more)
    assert set(made.differs) <= set(ASPECTS) and all(made.differs.values()), name
    assert name not in {other.name for other in CASES}, name
    CASES.append(made)


# -- what a context is made of: a str or bytes is a file's content


@dataclasses.dataclass
class File:
    data: str | bytes = b""
    mode: int = 0o644
    time: float = OLD
    attributes: dict[str, bytes] = dataclasses.field(default_factory=dict)
    owner: tuple[int, int] = (0, 0)


@dataclasses.dataclass
class Folder:
    mode: int = 0o755
    time: float = OLD
    owner: tuple[int, int] = (0, 0)


@dataclasses.dataclass
class Link:
    target: str


@dataclasses.dataclass
class Hard:
    """Another name of a file that was made before."""

    target: str


@dataclasses.dataclass
class Fifo:
    """A named pipe."""


@dataclasses.dataclass
class Socket:
    """A socket that nobody listens on."""


def make(folder: str, files: Mapping[str, Any]) -> None:
    """The files of `files` below a folder; folders get their times last."""
    modes: dict[str, Folder] = {}
    for path, what in files.items():
        full = f"{folder}/{path}"
        parent = os.path.dirname(path)
        while parent:
            modes.setdefault(parent, Folder())
            parent = os.path.dirname(parent)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if isinstance(what, Folder):
            os.makedirs(full, exist_ok=True)
            modes[path] = what
        else:
            _one(full, what, folder)
    for path in sorted(modes, reverse=True):
        full, what = f"{folder}/{path}", modes[path]
        os.chown(full, *what.owner)
        os.chmod(full, what.mode)
        os.utime(full, (what.time, what.time))
    os.utime(folder, (OLD, OLD))


def _one(full: str, what: Any, top: str) -> None:
    if isinstance(what, Hard):
        os.link(f"{top}/{what.target}", full)
    elif isinstance(what, Link):
        os.symlink(what.target, full)
        os.utime(full, (OLD, OLD), follow_symlinks=False)
    elif isinstance(what, Fifo):
        os.mkfifo(full)
        os.utime(full, (OLD, OLD))
    elif isinstance(what, Socket):
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(full)
    else:
        what = what if isinstance(what, File) else File(what)
        data = what.data.encode() if isinstance(what.data, str) else what.data
        pathlib.Path(full).write_bytes(data)
        os.chown(full, *what.owner)
        os.chmod(full, what.mode)
        for name, value in what.attributes.items():
            os.setxattr(full, name, value)
        os.utime(full, (what.time, what.time))


def archive(
    files: Mapping[str, Any], compression: str = "", headers: Mapping[str, Any] | None = None
) -> bytes:
    """A tar of `files`: as in a context, or TarInfos; `headers` are set on all of them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in files.items():
            info = tarfile.TarInfo(name)
            info.mtime, data = OLD, b""
            if isinstance(what, tarfile.TarInfo):
                info = what
            elif isinstance(what, Folder):
                info.type, info.mode, info.mtime = tarfile.DIRTYPE, what.mode, int(what.time)
                info.uid, info.gid = what.owner
            elif isinstance(what, Link | Hard):
                info.type = tarfile.SYMTYPE if isinstance(what, Link) else tarfile.LNKTYPE
                info.linkname = what.target
            elif isinstance(what, Fifo):
                info.type = tarfile.FIFOTYPE
            else:
                what = what if isinstance(what, File) else File(what)
                data = what.data.encode() if isinstance(what.data, str) else what.data
                info.mode, info.mtime, info.size = what.mode, int(what.time), len(data)
                info.uid, info.gid = what.owner
                for key, value in what.attributes.items():
                    info.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("latin-1")
            for key, value in (headers or {}).items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return COMPRESS[compression](out.getvalue())
