"""The packages in a root filesystem: Debian's, Alpine's and rpm's databases, Python's and npm's own files.

All is read by fd inside the root, regular files of a bounded size alone (K1, K13, K21), and as text: nothing
of it is run or imported (K2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from estiva import fastjson
from estiva.builder.exporters.sbom import rpmdb
from estiva.errors import EstivaError, InvalidInput
from estiva.linux import fs
from estiva.store.layers.descent import walk

DATABASE = 64 << 20  # bytes of a package manager's database
SMALL = 4 << 20  # bytes of one package's file
ALL = 512 << 20  # bytes of all that is read: one file may have many names
MOST = 50_000  # packages
LONGEST = 1000  # characters of what is said of a package
PATH = 4096  # characters of the path of the file that says it (PATH_MAX)
_HINT = "leave out --sbom, or make the image smaller"
SKIPPED = ("proc", "sys", "dev")
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
DPKG = "var/lib/dpkg/status"
RPM = ("usr/lib/sysimage/rpm", "var/lib/rpm")  # the latter may be a link to the former
RPM_DATABASE = 256 << 20  # bytes
DPKG_PARTS = "var/lib/dpkg/status.d"  # of images without a package manager


class Package(NamedTuple):
    """One package: `kind` is its type in a package URL, `where` the file that tells of it."""

    kind: str
    namespace: str
    name: str
    version: str
    qualifiers: tuple[tuple[str, str], ...]
    license: str
    where: str

    @property
    def purl(self) -> str:
        parts = [
            self.kind,
            *([quote(self.namespace, safe="")] if self.namespace else []),
            quote(self.name, safe=""),
        ]
        text = f"pkg:{'/'.join(parts)}@{quote(self.version, safe='')}"
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in self.qualifiers if value)
        return f"{text}?{query}" if query else text


def find(root: int) -> list[Package]:
    """All packages below the root filesystem `root` (fd), sorted, each once. Raises InvalidInput where there
    is more than can be told: to leave some out would let an image hide what it holds.
    """
    reader = _Reader()
    release = _release(root, reader)
    found: set[Package] = set()
    for source in (_dpkg, _apk, _rpm):
        found.update(package for package in source(root, release, reader) if reader.count(package))
    found.update(_languages(root, reader))
    return sorted(found)


class _Reader:
    """Reads files, and counts what was read and found."""

    def __init__(self) -> None:
        self.left = ALL
        self.found = 0

    def text(self, root: int, path: str, limit: int) -> str:
        """A file's text, "" where there is none that can be read."""
        return self.data(root, path, limit).decode("utf-8", "replace")

    def data(self, root: int, path: str, limit: int) -> bytes:
        try:
            data = fs.read_in_root(root, path, limit)
        except (OSError, ValueError):
            return b""
        self.left -= len(data)
        if self.left < 0:
            raise InvalidInput(f"the files that tell of packages have more than {ALL >> 20} MiB", hint=_HINT)
        return data

    def count(self, package: Package) -> bool:
        """Whether it is one: what no package manager would write is none. A license may be a text, and is
        cut by who reads it."""
        texts = package.namespace, package.name, package.version
        if len(package.where) > PATH or any(len(text) > LONGEST for text in texts):
            return False
        self.found += 1
        if self.found > MOST:
            raise InvalidInput(f"the image has more than {MOST} packages", hint=_HINT)
        return True


def _release(root: int, reader: _Reader) -> dict[str, str]:
    """ID and VERSION_ID of the system (os-release(5))."""
    text = reader.text(root, "etc/os-release", SMALL) or reader.text(root, "usr/lib/os-release", SMALL)
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip().strip("\"'") for key, _, value in pairs if key in ("ID", "VERSION_ID")}


def _distro(release: dict[str, str], other: str) -> str:
    return "-".join(filter(None, (release.get("ID") or other, release.get("VERSION_ID", ""))))


def _lines(text: str) -> Iterator[str]:
    """One at a time: a list of all takes many times what they do."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a control file (deb822(5)): the first line of each field."""
    fields: dict[str, str] = {}
    for line in _lines(text):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            key, colon, value = line.partition(":")
            if colon:
                fields[key] = value.strip()
    if fields:
        yield fields


def _dpkg(root: int, release: dict[str, str], reader: _Reader) -> Iterator[Package]:
    sources = [(DPKG, DATABASE, True)]
    for name in _names(root, DPKG_PARTS):
        if not name.endswith((".md5sums", ".preserve")):
            sources.append((f"{DPKG_PARTS}/{name}", SMALL, False))
    for where, limit, states in sources:
        for fields in paragraphs(reader.text(root, where, limit)):
            if states and not fields.get("Status", "").endswith(" installed"):
                continue
            if package := fields.get("Package"):
                said = (("arch", fields.get("Architecture", "")), ("distro", _distro(release, "debian")))
                space = release.get("ID") or "debian"
                yield Package("deb", space, package, fields.get("Version", ""), said, "", where)


def _apk(root: int, release: dict[str, str], reader: _Reader) -> Iterator[Package]:
    for where in APK:
        fields: dict[str, str] = {}
        for line in _lines(reader.text(root, where, DATABASE) + "\n"):
            if line[1:2] == ":":
                fields.setdefault(line[0], line[2:].strip())
            elif not line.strip():
                if name := fields.get("P"):
                    said = (("arch", fields.get("A", "")), ("distro", _distro(release, "alpine")))
                    version, license = fields.get("V", ""), fields.get("L", "")[:LONGEST]
                    yield Package("apk", release.get("ID") or "alpine", name, version, said, license, where)
                fields = {}


def _rpm(root: int, release: dict[str, str], reader: _Reader) -> Iterator[Package]:
    for folder in RPM:
        names = _names(root, folder)
        if "Packages" in names:  # Berkeley DB, up to RHEL 8
            raise rpmdb.damaged(f"/{folder}/Packages is one of Berkeley DB")
        for name in ("rpmdb.sqlite", "Packages.db"):
            if name not in names:
                continue
            where = f"{folder}/{name}"
            if _size(root, where + "-wal"):
                raise rpmdb.damaged(f"/{where}-wal has changes that are not in it yet")
            data = reader.data(root, where, RPM_DATABASE)
            if not data and _size(root, where):
                raise rpmdb.damaged(f"/{where} is no file of up to {RPM_DATABASE >> 20} MiB")
            for fields in rpmdb.packages(data) if data else ():
                if fields["name"] in ("", "gpg-pubkey"):  # a key, which is kept as if it were one
                    continue
                version = "-".join(filter(None, (fields["version"], fields["release"])))
                said = (
                    ("arch", fields["arch"]),
                    ("distro", _distro(release, "rpm")),
                    ("epoch", fields["epoch"].lstrip("0")),
                )
                space = release.get("ID") or "rpm"
                yield Package("rpm", space, fields["name"], version, said, fields["license"][:LONGEST], where)


def _size(root: int, path: str) -> int:
    """Bytes of what is there, 0 where nothing is; of a folder and the like some."""
    try:
        fd = fs.open_in_root(root, path, os.O_PATH)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _names(root: int, path: str) -> list[str]:
    try:
        fd = fs.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return sorted(os.listdir(fd))[:MOST]
    finally:
        os.close(fd)


def _languages(root: int, reader: _Reader) -> list[Package]:
    """Python's *.dist-info and *.egg-info, and package.json below node_modules, wherever they are."""
    found: list[Package] = []

    def look(fd: int, names: list[str]) -> list[str]:
        here = names[-1] if names else ""
        scoped = names[-3:-2] == ["node_modules"] and names[-2].startswith("@")
        if here.endswith(".dist-info"):
            _keep(reader, found, names, "METADATA", fd, _python)
        elif here.endswith(".egg-info"):
            _keep(reader, found, names, "PKG-INFO", fd, _python)
        elif scoped or names[-2:-1] == ["node_modules"] and not here.startswith((".", "@")):
            _keep(reader, found, names, "package.json", fd, _npm)
        with os.scandir(fd) as entries:
            folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [name for name in folders if names or name not in SKIPPED]

    walk(root, look)
    return found


def _keep(
    reader: _Reader,
    found: list[Package],
    names: list[str],
    file: str,
    fd: int,
    read: Callable[[str, str], Package | None],
) -> None:
    text = reader.text(fd, file, SMALL)
    package = read(text, "/".join([*names, file])) if text else None
    if package is not None and reader.count(package):
        found.append(package)


def _python(text: str, where: str) -> Package | None:
    fields = next(paragraphs(text), {})
    name = fields.get("Name", "")
    if not name:
        return None
    plain = name.lower().replace("_", "-")  # as the type "pypi" of a package URL wants it
    said = fields.get("License-Expression", "")[:LONGEST]
    return Package("pypi", "", plain, fields.get("Version", ""), (), said, where)


def _npm(text: str, where: str) -> Package | None:
    try:
        document = fastjson.loads(text.encode(), what="package.json")
    except EstivaError:
        return None
    if not isinstance(document, dict):
        return None
    name, version, license = (document.get(key) for key in ("name", "version", "license"))
    if not isinstance(name, str) or not isinstance(version, str) or not name:
        return None
    space, slash, rest = name.partition("/")
    said = license[:LONGEST] if isinstance(license, str) else ""
    return Package("npm", space if slash else "", rest if slash else name, version, (), said, where)
