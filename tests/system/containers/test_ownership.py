"""The volume option U: the source is the container's user's, and nothing else is."""

import os
import subprocess
import tempfile

import pytest

from enginekit import IMAGE, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture
def folder(box):
    """A tree of root's with symlinks that lead out of it, and what they lead to."""
    top = tempfile.mkdtemp(dir=box.folder)
    os.makedirs(f"{top}/in/deep")
    os.mkdir(f"{top}-outside")
    for path in (f"{top}/in/deep/file", f"{top}-outside/file"):
        open(path, "w").close()
    os.symlink(f"{top}-outside", f"{top}/in/folder-link")
    os.symlink(f"{top}-outside/file", f"{top}/in/file-link")
    return top


def owners(*paths):
    return {(status.st_uid, status.st_gid) for status in map(os.lstat, paths)}


def inside(top):
    return [top, *(f"{top}/in{name}" for name in ("", "/deep", "/deep/file", "/folder-link", "/file-link"))]


def run(box, *words, **options):
    return box.estiva("run", "--rm", "--network", "none", *words, **options)


@pytest.mark.parametrize(
    ("who", "ids"), [("user", (1000, 1000)), ("nobody:extra", (65534, 2000)), ("7:8", (7, 8))]
)
def test_a_folder_is_the_user_s_and_symlinks_lead_nowhere(box, folder, who, ids):
    run(box, "-u", who, "-v", f"{folder}:/mnt:U", IMAGE, "touch", "/mnt/in/deep/new")
    assert owners(*inside(folder), f"{folder}/in/deep/new") == {ids}
    assert owners(f"{folder}-outside", f"{folder}-outside/file") == {(0, 0)}


def test_what_is_mounted_below_is_left_alone(box, folder):
    """Both a folder and a file, of the same filesystem: only the mount tells them apart."""
    os.mkdir(f"{folder}/folder")
    open(f"{folder}/file", "w").close()
    for name in ("", "/file"):
        subprocess.run(
            ["mount", "--bind", f"{folder}-outside{name}", f"{folder}/{name[1:] or 'folder'}"], check=True
        )
    try:
        run(box, "-u", "user", "--mount", f"type=bind,src={folder},dst=/mnt,U=true", IMAGE, "true")
        assert owners(*inside(folder)) == {(1000, 1000)}
        assert owners(f"{folder}-outside", f"{folder}-outside/file") == {(0, 0)}
    finally:
        for name in ("file", "folder"):
            subprocess.run(["umount", f"{folder}/{name}"], check=True)


def test_a_file_and_a_folder_by_a_symlink(box, folder):
    run(box, "-u", "user", "-v", f"{folder}/in/file-link:/file:U", IMAGE, "true")
    run(box, "-u", "user", "-v", f"{folder}/in/folder-link:/mnt:ro,U", IMAGE, "true")
    assert owners(f"{folder}-outside", f"{folder}-outside/file") == {(1000, 1000)}
    assert owners(*inside(folder)) == {(0, 0)}


def test_every_start_gives_a_volume_again(box):
    box.estiva(
        "create", "--name", "again", "--network", "none", "-u", "user", "-v", "data:/d:U", IMAGE, "true"
    )
    for _ in range(2):
        run(box, "-v", "data:/d", IMAGE, "touch", "/d/roots")
        box.estiva("start", "-a", "again")
        assert run(box, "-v", "data:/d", IMAGE, "stat", "-c", "%u:%g", "/d/roots").stdout == "1000:1000\n"
        run(box, "-v", "data:/d", IMAGE, "rm", "/d/roots")
    box.estiva("rm", "again")
    box.estiva("volume", "rm", "data")


def test_the_ids_of_a_user_namespace(box, folder):
    words = ("--uidmap", "0:300000:65536", "-u", "user", "-v", f"{folder}:/mnt:U", "-v", "data:/d:U", IMAGE)
    told = run(box, *words, "sh", "-c", "touch /mnt/new /d/new; stat -c %u:%g /mnt /mnt/new /d /d/new").stdout
    assert told == "1000:1000\n" * 4
    assert owners(*inside(folder)) == {(301000, 301000)}
    box.estiva("volume", "rm", "data")
    few = ("--uidmap", "0:300000:10", "-u", "user", "-v", f"{folder}:/mnt:U", IMAGE, "true")
    assert "1000" in run(box, *few, status=125).stderr
    assert owners(*inside(folder)) == {(301000, 301000)}


def test_a_state_root_and_what_holds_it_are_refused(box, folder):
    """Directories of the host's own: tests/unit/engine/test_engine_ownership.py, where nothing can befall them."""
    for source in (box.folder, f"{box.folder}/root", f"{box.folder}/run"):
        done = run(box, "-u", "user", "-v", f"{source}:/mnt:ro,U", IMAGE, "true", status=125)
        assert done.stderr.startswith(f"estiva: the volume option U is refused for {source}: ")
    os.symlink(folder, f"{folder}-link")
    box.estiva("create", "--name", "later", "-u", "user", "-v", f"{folder}-link:/mnt:U", IMAGE, "true")
    os.unlink(f"{folder}-link")
    os.symlink(f"{box.folder}/root", f"{folder}-link")
    assert "is refused" in box.estiva("start", "-a", "later", status=1).stderr
    box.estiva("rm", "later")
    assert owners(box.folder, f"{box.folder}/root", f"{box.folder}/run") == {(0, 0)}
    assert box.out("ps", "-aq") == ""


def test_what_contradicts_is_refused(box, folder):
    bind = f"{folder}:/mnt"
    assert "U" in run(box, "-v", f"{bind}:U,idmap=uids=0-1-1", IMAGE, "true", status=125).stderr
    assert "tmpfs" in run(box, "--mount", "type=tmpfs,dst=/t,U=true", IMAGE, "true", status=125).stderr
    assert "eve" in run(box, "-u", "eve", "-v", f"{bind}:U", IMAGE, "true", status=125).stderr
    assert owners(*inside(folder)) == {(0, 0)}
