"""K1, K5, K21: Container.files stays in the container's root, whoever moves what is in it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from bundle import requires_kernel
from enginekit import Host, host

pytestmark = requires_kernel
pytest_plugins = ["bundle"]


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def test_reading_and_writing(box: Host) -> None:
    out = box.python("""
import estiva
engine = estiva.Engine()
def name(call):
    try: return call()
    except estiva.EstivaError as error: return f"{type(error).__name__}: {error}".replace(f.id, "ID").replace(where.name, "BOX")
for where in (estiva.container("box:1", network="none"), engine.containers.create("box:1", "true")):
    with where as where:
        f = where.files
        f.write("/a/b/c", "text", mode=0o600); f.write("a/b/c", b"again"); f.mkdir("/a/d"); f.mkdir("/a/x/y", parents=True, mode=0o700)
        f.mkdir("/a/x/y", parents=True)
        print(f.read("/a/b/c"), f.read_text("a/b/../b/c"), [(one.name, one.kind, oct(one.permissions)) for one in f.list("/a")])
        print(list(f.walk("/a")), f.exists("/a/b"), f.exists("/a/z"), f.stat("/a/b/c").size, f.stat("/a/x").is_dir)
        f.remove("/a/b/c"); f.remove("/a/d")
        for call in (lambda: f.read("/a/b/c"), lambda: f.read("/a"), lambda: f.remove("/a"), lambda: f.remove("/"), lambda: f.write("/a", b""),
                     lambda: f.write("/", b""), lambda: f.mkdir("/a"), lambda: f.mkdir("/no/such"), lambda: f.list("/etc/passwd"),
                     lambda: f.read("/etc/passwd", limit=5), lambda: f.stat("/etc/passwd/x"), lambda: list(f.walk("/nosuch"))):
            print(name(call))
        f.remove("/a", recursive=True); print(f.exists("/a"))
engine.containers.prune()
""").splitlines()
    one, two = out[: len(out) // 2], out[len(out) // 2 :]
    assert one == two
    assert one == [
        "b'again' again [('b', 'folder', '0o755'), ('d', 'folder', '0o755'), ('x', 'folder', '0o755')]",
        "[('/a', ['b', 'd', 'x'], []), ('/a/b', [], ['c']), ('/a/d', [], []), ('/a/x', ['y'], []), ('/a/x/y', [], [])] True False 5 True",
        "NotFound: no such file or folder: BOX:/a/b/c", "InvalidInput: BOX:/a is not a file", "InvalidInput: BOX:/a: directory not empty",
        "InvalidInput: BOX:/ must be the path of a file or folder", "InvalidInput: BOX:/a is a folder",
        "InvalidInput: BOX:/ must be the path of a file or folder", "InvalidInput: BOX:/a: file exists",
        "NotFound: no such file or folder: BOX:/no/such", "InvalidInput: BOX:/etc/passwd is not a folder",
        "InvalidInput: BOX:/etc/passwd is larger than 5 bytes", "InvalidInput: BOX:/etc/passwd/x: not a directory",
        "NotFound: no such file or folder: BOX:/nosuch", "False",
    ]  # fmt: skip


def test_links_lead_nowhere_else(box: Host) -> None:
    outside = pathlib.Path(box.folder) / "outside"
    outside.mkdir()
    (outside / "secret").write_text("host's")
    out = box.python(f"""
import estiva
out = {str(outside)!r}
with estiva.container("box:1", network="none") as box:
    f = box.files
    up = "../" * 30
    box.exec(["sh", "-c", f"ln -s {{out}} /abs; ln -s {{up}}{{out[1:]}} /rel; ln -s {{out}}/secret /file; ln -s /proc/1/root/etc /magic"])
    for path in ("/abs/secret", "/rel/secret", "/file", up + out + "/secret", out + "/secret"):
        for call in (f.read, f.list, f.stat):
            try: call(path); print("reached", path)
            except estiva.errors.NotFound: pass
    f.write("/abs/new", b"mine"); f.write("/file", b"mine"); f.write("/rel/new2", b"mine"); f.mkdir("/abs/folder")
    print(f.stat("/file", follow=False).kind, f.stat("/abs", follow=False).target == out, f.read(out + "/new"), f.read("/rel/new2"))
    f.remove("/abs/new"); f.remove("/rel"); f.remove("/abs", recursive=True)
    for path in ("/proc/version", "/proc/self/environ", "/sys/kernel/notes", "/magic/passwd", "/dev/null", "/dev/pts/ptmx"):
        try: f.read(path); print("read", path)
        except estiva.EstivaError: pass
    for path in ("/proc/sys/kernel/x", "/sys/x", "/proc/x"):
        for call in (lambda: f.write(path, b"x"), lambda: f.mkdir(path), lambda: f.mkdir(path, parents=True)):
            try: call(); print("wrote", path)
            except estiva.EstivaError: pass
    try: f.list("/proc"); print("listed")
    except estiva.EstivaError as error: print("the kernel's own" in str(error))
    box.exec(["sh", "-c", "mkfifo /pipe || mknod /pipe p"])
    try: f.read("/pipe"); print("read a fifo")
    except estiva.EstivaError as error: print("is not a file" in str(error))
""")
    assert out.splitlines() == ["file True b'mine' b'mine'", "True", "True"]
    assert os.listdir(outside) == ["secret"] and (outside / "secret").read_text() == "host's"


def test_folders_that_are_swapped_for_links_meanwhile(box: Host) -> None:
    """A process in the container swaps a folder for a link to the host's path, over and over."""
    outside = pathlib.Path(box.folder) / "race"
    outside.mkdir()
    for number in range(5):
        (outside / f"f{number}").write_text("host's")
    out = box.python(
        f"""
import estiva, time
out = {str(outside)!r}
with estiva.container("box:1", network="none", memory="64m") as box:
    box.files.mkdir("/w")
    with box.popen(["sh", "-c", "cd /w; mkdir a b; ln -s " + out + " l; while :; do rm -rf d; ln -s " + out + " d; rm -f d; mkdir d; "
                    "for i in 0 1 2 3 4; do echo c > d/f$i; done; done"], stdout=-3, stderr=-3) as racer:
        end = time.monotonic() + 4
        seen = set()
        while time.monotonic() < end:
            for call in (lambda: box.files.read("/w/d/f1"), lambda: box.files.write("/w/d/f2", b"x"), lambda: box.files.write("/w/d/new", b"x"),
                         lambda: box.files.list("/w/d"), lambda: box.files.mkdir("/w/d/sub/deep", parents=True),
                         lambda: box.files.remove("/w/d/f3"), lambda: box.files.remove("/w/d", recursive=True)):
                try: seen.add(str(call()))
                except estiva.EstivaError: pass
        racer.kill()
    print([one for one in seen if "host" in one])
""",
        timeout=120,
    )
    assert out.strip() == "[]"
    assert sorted(os.listdir(outside)) == [f"f{number}" for number in range(5)]
    assert {path.read_text() for path in outside.iterdir()} == {"host's"}


def test_bounds(box: Host) -> None:
    out = box.python("""
import estiva
with estiva.container("box:1", network="none", memory="64m") as box:
    box.exec(["sh", "-c", "cd /tmp; for i in $(seq 300); do mkdir d; cd d; done; touch bottom"])
    print(sum(1 for _ in box.files.walk("/tmp")))
    box.files.remove("/tmp/d", recursive=True)
    print(box.files.list("/tmp"))
    box.exec(["sh", "-c", "dd if=/dev/zero of=/huge bs=1 count=1 seek=4294967296"])
    try: box.files.read("/huge")
    except estiva.EstivaError as error: print(error.hint)
    print(box.files.write("/x" + "y" * 250, b"1"), box.files.exists("/x" + "y" * 250))
    for path in ("/" + "z" * 300, "/z" * 3000):
        try: box.files.write(path, b"")
        except estiva.EstivaError as error: print(type(error).__name__, len(str(error)) < 1000)
""")
    assert out.splitlines() == [
        "301",
        "[]",
        "a larger limit, or download",
        "None True",
        "InvalidInput True",
        "InvalidInput True",
    ]


def test_a_slash_at_the_end_is_a_folder_s(box):
    """As unlink(2) and open(2) have it: what is no folder is neither removed nor replaced by that name."""
    out = box.python("""
import estiva
with estiva.container("box:1", network="none") as made:
    made.files.write("/file", "kept")
    for call in (lambda: made.files.remove("/file/"), lambda: made.files.write("/file/", "other"), lambda: made.files.write("/new/", "x")):
        try:
            call()
        except estiva.errors.InvalidInput as error:
            print(str(error).partition(":")[2])
    print(made.files.read_text("/file"), made.files.exists("/new"))
""")
    assert out.splitlines() == [
        "/file/ is not a folder",
        "/file/ is the name of a folder",
        "/new/ is the name of a folder",
        "kept False",
    ]
