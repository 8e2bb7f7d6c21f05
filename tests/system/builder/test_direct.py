"""A COPY of one source writes its layer's tar itself: it is what a copy into a rootfs would have made of it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tarfile
from collections.abc import Callable, Iterator

import pytest

from buildlab import Lab
from estiva import fastjson
from estiva.builder.files import copier, direct
from estiva.builder.steps.copy import CopyStep
from estiva.errors import EstivaError
from estiva.store.images import Image

OLD = 1_000_000_000

BASE = """
FROM box
RUN mkdir -p /there/sub /there/in/d && echo 1 > /there/x && echo 2 > /there/sub/y && chmod 700 /there/sub \
 && chown 5:6 /there/in && touch /there/in/inner && cat /bin/busybox > /link-to || true
RUN mkdir /setgid && chown 0:9 /setgid && chmod 2775 /setgid && touch /setgid/old && chmod 4755 /setgid/old
COPY links /
"""

TARGETS = {
    "to-root": "/",
    "to-dots": "../../../..",
    "to-proc": "/proc/self/root",
    "to-loop": "to-pool",
    "to-pool": "to-loop",
    "to-x": "there/x",
}
TIMES = (
    0,
    -1,
    -1_500_000_000,
    8_589_934_592_999_999_999,
)  # nanoseconds; the last needs more than 11 octal digits

LINES = [
    "COPY d /new",
    "COPY d/ /new/deep/er/",
    "COPY d /there",
    "COPY d /there/sub/",
    "COPY d /",
    "COPY d /to-there",
    "COPY d /to-nowhere/below",
    "COPY d/a /new",
    "COPY d/a /new/",
    "COPY d/a /there",
    "COPY d/a /there/",
    "COPY d/a /there/x",
    "COPY d/a /to-there/x",
    "COPY d/a /there/in/inner",
    "COPY d/a /",
    "COPY d/to-a /there/x",
    "COPY --chown=7:8 d /there",
    "COPY --chown=user --chmod=750 d /new/one",
    "COPY --chmod=go-rwx d /there",
    "COPY --exclude=sub d /new",
    "COPY --exclude=** --exclude=!**/c d /there",
    "COPY --exclude=a d/a /new/",
    "COPY --link d /there",
    "COPY --link --chown=7:8 d/a /there/x",
    "COPY --from=base /there /new",
    "COPY --from=base /there /",
    "COPY --from=base /there/in /there",
    "COPY --from=base --chown=0 /there/in /there/sub",
    "COPY --from=kinds /k /k",
    "ADD d /there",
    "ADD d/a /there/",
    "COPY --exclude=marks . /all",
    "COPY none /there",
    "COPY none /none",
    "COPY d /to-root",
    "COPY d/a /to-root",
    "COPY marks/d/.wh.a /new",
    "COPY d/a /to-dots/x",
    "COPY d /to-proc",
    "COPY d/a /to-proc/cwd/x",
    "COPY d /there/../to-there/./sub",
    "COPY d/a /setgid/deep/er/",
    "COPY d /setgid",
    "COPY d/a /setgid/old",
    "COPY d /setgid/new/er",
    "COPY --chown=7:8 none /setgid/new",
    "COPY --from=base /acl /new",
    "COPY --from=base /acl/sub /there",
    "COPY d /acl/new",
    "COPY none /acl/new",
    "COPY modes /acl",
    "COPY d/a /acl/x/",
    "COPY odd /odd",
    "COPY odd/socket /there/",
    "COPY odd/socket /there/x",
    "COPY odd/socket /far/away/",
    "COPY odd/fifo /there/x",
    "COPY --from=kinds /k/device /there/x",
    "COPY --from=kinds / /there",
    "COPY --from=gone / /",
    "COPY --from=gone / /new",
    "COPY --from=gone / /to-there",
]
RULED = ["COPY --from=gone / /"]  # and what goes to /acl: a filesystem has to apply its rules
WRONG = [
    "COPY d /there/x",
    "COPY d /there/x/below",
    "COPY d/a /there/x/below",
    "COPY over /there",
    "COPY over2 /there",
    "COPY over3 /there",
    "COPY marks /new",
    "COPY marks/d/.wh.a /new/",
    "COPY d/a /.wh.a",
    "COPY d /.wh.a/b",
    "COPY d /to-loop/x",
    "COPY d/a /to-loop",
    "COPY d /to-x",
    "COPY d/a /to-x/y",
    "COPY odd/.wh /.wh.",
    "COPY over4 /",
    "COPY over5 /",
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    fill(made)
    yield made
    made.close()


def fill(lab: Lab) -> None:
    lab.write(d__a="1", d__sub__c="3", d__sub__deep__e="5", d__none="", d__in__inner="other", d__x="new x")
    lab.put("d/script", "x", 0o4755)
    lab.put("d/large", os.urandom(3_000_001))
    lab.put("d/edge", os.urandom(1 << 20))
    lab.put("d/edge1", os.urandom((1 << 20) + 1))
    lab.put(os.fsdecode(b"d/\xff\xfe"), "bytes")
    lab.put("d/" + "n" * 255, "long")
    lab.put("d/" + "/".join(["n" * 60] * 5) + "/é", "far")
    os.link(lab.context / "d/a", lab.context / "d/sub/linked")
    (lab.context / "d/to-a").symlink_to("a")
    (lab.context / "d/far").symlink_to("/" + "x" * 200)
    os.mkfifo(lab.context / "d/fifo", 0o640)
    (lab.context / "none").mkdir(0o711)
    lab.put("over/sub", "a file onto a directory")
    lab.put("over2/x/y", "a directory onto a file")
    lab.put("over3/in/d", "a file onto a directory, deeper")
    lab.put("marks/d/.wh.a", "")
    (lab.context / "links").mkdir()
    (lab.context / "links/to-there").symlink_to("/there")
    (lab.context / "links/to-nowhere").symlink_to("no/where")
    for name, target in TARGETS.items():
        (lab.context / "links" / name).symlink_to(target)
    for name in ("over4/to-there/x", "over5/there"):
        lab.put(name, "a directory onto a link, a file onto a directory")
    lab.put("modes/sub/x", "x").parent.chmod(0o700)
    lab.put("odd/.wh", "no mark")
    lab.put("odd/a\nb", "a line break")
    lab.put("odd/ =%\t", "")
    lab.put("odd/PaxHeaders/x", "no header")
    lab.put("odd/" + "n" * 100, "as long as a name may be")
    lab.put("odd/" + "m" * 155 + "/" + "n" * 100, "as long as both may be")
    lab.put("odd/" + "/".join(["deep" * 20] * 40), "deep")
    (lab.context / "odd/to\n").symlink_to(os.fsdecode(b"\xff\n" * 50))
    os.mkfifo(lab.context / "odd/fifo")
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(lab.context / "odd"):
        made.bind("socket")
    os.truncate(lab.put("odd/hole", "x"), 3 << 20)
    os.setxattr(lab.put("odd/user", "x"), "user.of.context", b"not kept")
    os.chmod(lab.context / "d/sub", 0o2750)
    os.chown(lab.context / "d/sub/c", 1234, 1234)
    for path, folders, files in os.walk(lab.context):
        for name in [*folders, *files]:
            os.utime(os.path.join(path, name), (OLD, OLD), follow_symlinks=False)
    for number, name in enumerate(("user", "hole", "a\nb", ".wh")):
        os.utime(lab.context / "odd" / name, ns=(0, TIMES[number]))
    kinds = lab.store.snapshots.prepare([])
    os.mkdir(kinds.upper + "/k")
    for name, owner in (("one", 1), ("two", 2)):
        with open(f"{kinds.upper}/k/{name}", "w") as file:
            file.write(name)
        os.chown(f"{kinds.upper}/k/{name}", owner, owner)
    os.setxattr(kinds.upper + "/k/one", "user.kept", b"value")
    os.link(kinds.upper + "/k/one", kinds.upper + "/k/three")
    os.mknod(kinds.upper + "/k/device", 0o020600, os.makedev(1, 3))
    layer = kinds.commit()
    kinds.discard()
    box = lab.box.config
    config = {**box, "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}, "history": []}
    image = lab.store.images.add(fastjson.dumps(config).encode())
    lab.store.images.tag(image.id, "kinds")
    base = lab.build(BASE)
    over(lab, base, "base", lambda upper: restrict(upper + "/acl"))
    over(
        lab, lab.build("FROM base\nRUN rm -r /there/sub /there/x && rm -r /bin /etc && mkdir /etc\n"), "gone"
    )


def over(lab: Lab, image: Image, name: str, make: Callable[[str], None] = lambda upper: None) -> None:
    """An image with one more layer, which `make` fills."""
    snapshot = lab.store.snapshots.prepare(image.diff_ids)
    make(snapshot.upper)
    layer = snapshot.commit()
    snapshot.discard()
    rootfs = {"type": "layers", "diff_ids": [*image.diff_ids, layer.diff_id]}
    config = {**image.config, "rootfs": rootfs, "history": []}
    made = lab.store.images.add(fastjson.dumps(config).encode())
    lab.store.images.tag(made.id, name)


def restrict(path: str) -> None:
    """A directory with rules of its own for user 5, and others for what is made in it."""
    os.makedirs(path + "/sub")
    for folder in (path, path + "/sub"):
        os.chmod(folder, 0o775)
        for kind, named in (("access", 7), ("default", 6)):
            entries = [(1, 7, -1), (2, named, 5), (4, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]  # acl(5)
            packed = b"".join(struct.pack("<HHi", *each) for each in entries)
            os.setxattr(folder, f"system.posix_acl_{kind}", struct.pack("<I", 2) + packed)


Told = dict[str, tuple[object, ...]]


def layer(lab: Lab, image: Image) -> Told:
    """{name: what the last layer's tar says of it}. A time that is of now is None."""
    found: Told = {}
    with lab.store.layers.tar(image.diff_ids[-1]) as file, tarfile.open(fileobj=file) as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isreg() else None
            pax = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY")}
            found[member.name] = (
                member.type,
                oct(member.mode),
                (member.uid, member.gid),
                member.size,
                member.linkname,
                (member.devmajor, member.devminor),
                pax,
                None if member.mtime > OLD + 1e8 else member.mtime,
                data.read() if data else b"",
            )
    return found


def both(lab: Lab, line: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told | str]:
    """What becomes of it directly, and by way of a rootfs."""
    for way in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(CopyStep, "_is_one", lambda *_, way=way: way)
            if not way:
                patch.delattr(direct.Direct, "copy")
            elif "/acl" not in line and line not in RULED:
                patch.delattr(copier.Copier, "copy")
            try:
                yield layer(lab, lab.build(f"FROM base\n{line}\n", no_cache=True))
            except EstivaError as error:
                yield error.message


@pytest.mark.parametrize("line", LINES)
def test_the_layer_is_that_of_a_copy_into_a_rootfs(
    line: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both(lab, line, monkeypatch)
    assert isinstance(ours, dict)
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("line", WRONG)
def test_what_is_refused_is_refused_in_the_same_words(
    line: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both(lab, line, monkeypatch)
    assert isinstance(ours, str)
    assert ours == theirs
