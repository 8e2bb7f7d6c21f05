"""Files into and out of a container of a Python program: folders onto folders, files with holes."""

import pytest

from enginekit import host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def test_a_folder_onto_one_that_is_there(box):
    out = box.python(
        """
import estiva, os, pathlib, shutil
def tree(top): return sorted(str(p.relative_to(top)) for p in pathlib.Path(top).rglob("*"))
def refused(call):
    try: return call()
    except estiva.EstivaError as error: return type(error).__name__
for name in ("in/sub", "in/other"): os.makedirs(name)
for name in ("in/a", "in/sub/b", "in/sub/c"): pathlib.Path(name).write_text(name)
os.symlink("a", "in/link")
with estiva.container("box:1", network="none") as box:
    for _ in range(3):
        box.put("in", "/dir")
        box.put(pathlib.Path("in"), pathlib.Path("/dir"))
    box.exec(["sh", "-c", "echo mine > /dir/mine; echo old > /dir/sub/b; echo deep > /dir/sub/deep; ln -s dir /alias"])
    box.put("in", "/alias")
    print(box.exec(["sh", "-c", "cd /dir; find . -type f | sort | xargs cat; echo; readlink link; readlink /alias"]).output.split())
    for _ in range(2):
        box.get("/dir", "out")
    print(tree("out") == ["a", "link", "mine", "other", "sub", "sub/b", "sub/c", "sub/deep"])
    pathlib.Path("out/extra").write_text("x"); pathlib.Path("out/sub/b").write_text("old")
    box.get("/dir", pathlib.Path("out"))
    print(pathlib.Path("out/extra").read_text(), pathlib.Path("out/sub/b").read_text())
    box.get("/dir/a", "out/sub"); print(pathlib.Path("out/sub/a").read_text())
    # a link that came from the container is not written through
    pathlib.Path("secret").write_text("host"); box.exec(["sh", "-c", f"ln -s {os.path.abspath('secret')} /dir/trap"])
    box.get("/dir", "out"); box.exec(["sh", "-c", "rm /dir/trap; echo evil > /dir/trap"])
    box.get("/dir/trap", "out")
    print(pathlib.Path("secret").read_text(), pathlib.Path("out/trap").read_text())
    # a link on the host where a folder goes is not followed
    os.mkdir("elsewhere"); shutil.rmtree("out/sub"); os.symlink(os.path.abspath("elsewhere"), "out/sub")
    print(refused(lambda: box.get("/dir", "out")), os.listdir("elsewhere"))
    pathlib.Path("file").write_text("x")
    print(refused(lambda: box.get("/dir", "file")), refused(lambda: box.put("in", "/dir/a")))
    box.exec(["sh", "-c", "mkdir /clash; mkdir /clash/a; echo > /flat"])
    print(refused(lambda: box.put("in", "/clash")), refused(lambda: box.put("in", "/flat")), refused(lambda: box.put("file", "/dir")))
"""
    )
    assert out.splitlines() == [
        "['in/amine', 'in/sub/bin/sub/cdeep', 'a', 'dir']",
        "True", "x in/sub/b", "in/a",
        "host evil",
        "", "InvalidInput []", "InvalidInput InvalidInput",
        "InvalidInput InvalidInput InvalidInput",
    ]  # fmt: skip


def test_holes_stay_holes(box):
    out = box.python(
        """
import estiva, os
def used(path): return os.stat(path).st_blocks * 512 < 1 << 22
size = 3 << 30
with open("holes", "wb") as file:
    file.seek(1 << 30); file.write(b"middle" * 1000)
    file.truncate(size)
with estiva.container("box:1", network="none") as box:
    box.put("holes", "/holes")
    print(box.exec(["stat", "-c", "%s", "/holes"]).output.strip() == str(size))
    box.get("/holes", "back")
    print(os.stat("back").st_size == size, used("back"))
    with open("back", "rb") as file:
        file.seek((1 << 30) - 2); print(file.read(8))
    box.exec(["sh", "-c", "mkdir /d; dd if=/dev/zero of=/d/all bs=1 seek=1073741824 count=0 2>/dev/null; echo end >> /d/all"])
    box.get("/d", "folder")
    print(used("folder/all"), os.stat("folder/all").st_size)
"""
    )
    assert out.splitlines() == ["True", "True True", r"b'\x00\x00middle'", f"True {(1 << 30) + 4}"]
