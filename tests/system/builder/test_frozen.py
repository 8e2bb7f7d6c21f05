"""What a RUN's bind mounts show: a folder itself, or a copy of it that says the same of itself."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.files import frozen, identity, witness
from estiva.builder.files.tree import Tree
from estiva.builder.frontend import ignore
from estiva.errors import Unsupported
from estiva.linux import mount as mnt


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def folder(lab: Lab) -> Path:
    return Path(lab.folder)


@pytest.fixture
def trees() -> Iterator[list[Tree]]:
    made: list[Tree] = []
    yield made
    for tree in made:
        tree.close()


def context(lab: Lab, trees: list[Tree], *patterns: str) -> Tree:
    trees.append(Tree.context(str(lab.context), ignore.Matcher(list(patterns))))
    return trees[-1]


def fill(lab: Lab) -> None:
    """Every kind of file that a copy has."""
    lab.write(d__a="1", d__sub__c="3", d__sub__deep__e="5", d__none="")
    lab.put("d/big", os.urandom(300_001))
    lab.put("d/hole", b"").open("r+b").truncate(70_000)
    lab.put("d/.wh.a", "an ordinary name")
    lab.put("d/.wh..wh..opq", "")
    lab.put(os.fsdecode(b"d/\xff\xfe"), "bytes")
    lab.put("d/" + "n" * 255, "long", 0o4755)
    for number in range(100):
        lab.put(f"d/many/{number}", str(number) * number)
    os.link(lab.context / "d/a", lab.context / "d/sub/linked")
    (lab.context / "d/link").symlink_to("a")
    (lab.context / "d/far").symlink_to("/" + "x" * 2000)
    (lab.context / "d/empty").mkdir(0o700)
    (lab.context / "d").chmod(0o751)
    os.mkfifo(lab.context / "d/fifo", 0o640)
    os.utime(lab.context / "d/a", ns=(1, 1_234_567_890_123_456_789))


def described(root: int, owners: bool = True) -> dict[str, tuple[object, ...]]:
    """All that a command could see of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    tree = Tree(os.dup(root), owners=owners)
    inodes: dict[int, str] = {}
    for entry in [*tree.entries("")]:
        info, path, content = tree.stat(entry.path), entry.path, b""
        if stat.S_ISREG(info.st_mode):
            with open(tree.open(path), "rb") as file:
                content = file.read()
        elif stat.S_ISLNK(info.st_mode):
            content = os.fsencode(tree.readlink(path))
        same = inodes.setdefault(info.st_ino, path)
        size = info.st_size if stat.S_ISREG(info.st_mode) else 0
        time = info.st_mtime_ns if stat.S_ISREG(info.st_mode) else 0
        found[path] = (info.st_mode, info.st_uid, info.st_gid, size, time, content, same)
    tree.close()
    return found


def test_a_packed_folder_is_as_it_was(lab: Lab, trees: list[Tree]) -> None:
    fill(lab)
    tree = context(lab, trees)
    packed = frozen.Packed(tree, "d", tempfile.mkdtemp(dir=lab.folder))
    assert packed.digest == tree.digest("d")
    fd = packed.mount()
    try:
        top = os.open(lab.context / "d", os.O_PATH)
        assert described(fd) == described(top)
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o751
        os.close(top)
        with pytest.raises(OSError):
            os.open("a", os.O_RDWR, dir_fd=fd)
    finally:
        os.close(fd)


def test_a_packed_folder_is_root_s_and_without_attributes(lab: Lab, trees: list[Tree]) -> None:
    lab.write(f="", d__g="")
    for name in ("", "f", "d", "d/g"):
        os.chown(lab.context / name, 1000, 1001)
    os.setxattr(lab.context / "f", "user.note", b"x")
    packed = frozen.Packed(context(lab, trees), "", tempfile.mkdtemp(dir=lab.folder))
    fd = packed.mount()
    try:
        for name in (".", "f", "d", "d/g"):
            info = os.stat(name, dir_fd=fd)
            assert (info.st_uid, info.st_gid) == (0, 0)
        assert os.listxattr(f"/proc/self/fd/{fd}/f") == []
    finally:
        os.close(fd)


def test_a_packed_folder_is_without_what_is_left_out(lab: Lab, trees: list[Tree]) -> None:
    lab.write(a="", b="", d__a="", d__b="", e__f__a="", e__f__b="")
    tree = context(lab, trees, "**/b", "e", "!e/f/a")
    packed = frozen.Packed(tree, "", tempfile.mkdtemp(dir=lab.folder))
    assert packed.digest == tree.digest("")
    fd = packed.mount()
    assert sorted(described(fd)) == ["a", "d", "d/a", "e", "e/f", "e/f/a"]
    os.close(fd)


def test_sockets_are_not_copied_and_devices_refused(lab: Lab, trees: list[Tree]) -> None:
    lab.write(f="")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(lab.context / "s"))
    packed = frozen.Packed(context(lab, trees), "", tempfile.mkdtemp(dir=lab.folder))
    fd = packed.mount()
    assert sorted(described(fd)) == ["f"]
    os.close(fd)
    os.mknod(lab.context / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(Unsupported, match="null in the build context is a device, which is not copied"):
        frozen.Packed(context(lab, trees), "", tempfile.mkdtemp(dir=lab.folder))


def look(lab: Lab, trees: list[Tree], path: str = "") -> witness.Witness:
    tree = context(lab, trees)
    fd = frozen.detached(tree.open(path, os.O_PATH))
    assert fd >= 0
    trees.append(tree.through(fd))
    return witness.Witness(trees[-1])


def test_new_files_are_waited_for(lab: Lab, trees: list[Tree]) -> None:
    for path in ("", "f"):
        lab.write(f="just written")
        seen = look(lab, trees, path)
        assert seen.doubt == "" and seen.changed() is None
        assert seen.digest == context(lab, trees).digest(path)


def test_files_that_are_always_new_are_doubted(
    lab: Lab, trees: list[Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write(f="")
    ctime = (lab.context / "f").stat().st_ctime_ns
    monkeypatch.setattr(identity, "clock", lambda: ctime)
    assert look(lab, trees).doubt == "it has just been changed"
    monkeypatch.setattr(identity, "clock", lambda: ctime - 3600 * 10**9)
    assert look(lab, trees).doubt == "it has just been changed"


@pytest.mark.parametrize(
    ("doubt", "prepare"),
    [
        ("is not root's", lambda path: os.chown(path, 1, 0)),
        ("is not root's", lambda path: os.chown(path.parent, 0, 1)),
        ("has extended attributes", lambda path: os.setxattr(path, "user.note", b"")),
        ("has extended attributes", lambda path: os.setxattr(path.parent, "trusted.note", b"")),
        ("is neither a file nor a directory", lambda path: os.mkfifo(path.parent / "p")),
        ("is neither a file nor a directory", lambda path: os.mknod(path.parent / "c", 0o20600, 0x103)),
    ],
)
def test_what_must_not_be_shown_as_it_is(
    lab: Lab, trees: list[Tree], doubt: str, prepare: Callable[[Path], None]
) -> None:
    prepare(lab.put("d/f", ""))
    assert look(lab, trees).doubt.endswith(doubt)


def test_a_socket_of_the_host_is_out_of_reach(lab: Lab) -> None:
    lab.write(f="")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(lab.context / "s"))
        lab.build("FROM box\nRUN --mount=target=/in test ! -e /in/s && test -e /in/f\n")


def test_what_is_mounted_in_a_folder_is_copied(lab: Lab) -> None:
    """A mount of the folder alone would not show it."""
    lab.write(d__f="below")
    mnt.mount("tmpfs", str(lab.context / "d"), "tmpfs", 0, None)
    try:
        lab.write(d__f="above")
        image = lab.build("FROM box\nRUN --mount=target=/in cat /in/d/f > /f\n")
        assert lab.read(image, "/f") == "above" and lab.warnings() == []
    finally:
        mnt.umount2(str(lab.context / "d"))


def test_a_mount_to_write_to_keeps_what_it_shows(lab: Lab) -> None:
    """Of the context, of a copy of it, of a stage, of a file; written to in vain, and cached."""
    lab.write(d__f="kept")
    lines = [
        "RUN --mount=target=/in,rw echo x > /in/d/f && rm -r /in/d && mkdir /in/d && touch /in/d/g",
        "RUN --mount=target=/in,source=d,rw echo x > /in/f && cat /in/f",
        "RUN --mount=target=/in,source=d/f,rw echo x > /in && cat /in",
        "RUN --mount=target=/in,from=box,rw rm /in/etc/passwd && touch /in/new && mkdir /in/etc/new",
        "RUN --mount=target=/in,from=box,source=etc/passwd,rw echo x > /in",
        "RUN --mount=target=/in,from=box test -s /in/etc/passwd && test ! -e /in/new",
        "RUN --mount=target=/in test -s /in/d/f && test ! -e /in/d/g",
    ]
    text = "FROM box\n" + "\n".join(lines) + "\n"
    for patterns in ("", "none\n"):
        lab.put(".dockerignore", patterns)
        assert {lab.build(text).id for _ in range(2)}
        assert {lab.statuses()[line] for line in lines} == {"cached"}
        assert (lab.context / "d/f").read_text() == "kept"


@pytest.mark.parametrize("driver", ["erofs", "dir"])
@pytest.mark.parametrize("old", [False, True])
def test_kernels_that_can_do_less_make_files(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, driver: str, old: bool
) -> None:
    """`old`: no copy of a detached mount, nor a layer over one, before Linux 6.15."""
    if old:
        clone = mnt.clone_tree

        def refuse(path: str, *, recursive: bool = False, dirfd: int = -1) -> int:
            if not path and os.fstat(dirfd).st_dev != os.stat(lab.folder).st_dev:
                raise OSError(22, "as before Linux 6.15")
            return clone(path, recursive=recursive, dirfd=dirfd)

        monkeypatch.setattr(mnt, "clone_tree", refuse)
        monkeypatch.setattr(frozen, "over", lambda fd, scratch: os.close(fd) or -1)
    if driver == "dir":
        monkeypatch.setattr(type(lab.store.layers), "driver", "dir")
    lab.write(_dot_dockerignore="left\n.dockerignore\n", left="", d__f="good")
    lines = [
        "RUN --mount=target=/in ls /in | cat - /in/d/f > /one",
        "RUN --mount=target=/in,rw echo x > /in/d/new; ls /in | cat - /in/d/f > /two",
        "RUN --mount=target=/in test ! -e /in/d/new",
        "RUN --mount=from=box,target=/in test -s /in/etc/passwd",
        "RUN --mount=from=box,target=/in,rw touch /in/new",
        "RUN --mount=from=box,target=/in test ! -e /in/new",
    ]
    text = "FROM box\n" + "\n".join(lines) + "\n"
    image = lab.build(text)
    assert lab.read(image, "/one") == lab.read(image, "/two") == "d\ngood"
    assert lab.build(text).id == image.id
    assert {lab.statuses()[line] for line in lines} == {"cached"}
