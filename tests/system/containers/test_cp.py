"""`cp`: Docker's rules for what goes where, on containers that run, are paused, and don't run."""

import io
import os
import pathlib
import stat
import subprocess
import tarfile

import pytest

from bundle import requires_kernel
from enginekit import ESTIVA, IMAGE, host

pytestmark = requires_kernel


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva(
            "run",
            "-d",
            "--name",
            "cc",
            "--network",
            "none",
            "-v",
            "vol:/vol",
            "--tmpfs",
            "/tm",
            IMAGE,
            "sleep",
            "600",
        )
        yield made


def shell(box, script, container="cc"):
    return box.out("exec", container, "sh", "-c", script)


@pytest.fixture
def here(box, request):
    """A folder on the host, and one of the same name in the container."""
    path = pathlib.Path(box.folder, request.node.name.replace("[", "-").rstrip("]"))
    (path / "src/sub").mkdir(parents=True)
    (path / "src/a").write_text("a")
    (path / "src/sub/b").write_text("b")
    (path / "file").write_text("file")
    shell(box, f"mkdir -p /{path.name}/dir; echo -n old > /{path.name}/old")
    return path


RULES = [
    # source, target, what the target's folder holds afterwards; or the error
    ("file", "new", {"new": "file"}),
    ("file", "new/", "no such folder"),
    ("file", "old", {"old": "file"}),
    ("file", "old/", "is not a folder"),
    ("file", "dir", {"dir/file": "file"}),
    ("file", "dir/", {"dir/file": "file"}),
    ("file", "dir/new", {"dir/new": "file"}),
    ("file", "no/new", "no such folder"),
    ("src", "new", {"new/a": "a", "new/sub/b": "b"}),
    ("src", "new/", {"new/a": "a", "new/sub/b": "b"}),
    ("src/.", "new", {"new/a": "a", "new/sub/b": "b"}),
    ("src", "old", "can't be copied to the file"),
    ("src", "dir", {"dir/src/a": "a", "dir/src/sub/b": "b"}),
    ("src/", "dir", {"dir/src/a": "a", "dir/src/sub/b": "b"}),
    ("src/.", "dir", {"dir/a": "a", "dir/sub/b": "b"}),
    ("src", "no/new", "no such folder"),
    ("none", "dir", "no such file or folder"),
    ("file/", "dir", "is not a folder"),
    ("file/.", "dir", "is not a folder"),
]


@pytest.mark.parametrize("way", ["in", "out", "across"])
def test_what_goes_where(box, tmp_path, way):
    """Each row in a fresh pair of folders, the same for both ways and between places of containers."""
    folders = (
        "mkdir -p {0}/src/sub {0}/dir; cd {0}; echo -n a > src/a; echo -n b > src/sub/b; echo -n file > file"
    )
    folders += "; echo -n old > old; "
    script = "\n".join(f"({folders.format(f'{way}{number}')})" for number in range(len(RULES)))
    subprocess.run(["sh", "-c", script], check=True, cwd=tmp_path)
    shell(box, f"cd /; {script}")
    root = f"/proc/{box.out('inspect', '-f', '{{.State.Pid}}', 'cc')}/root"
    wrong = []
    for number, (source, target, wanted) in enumerate(RULES):
        name = f"{way}{number}"
        outer = tmp_path / name
        left, right = {
            "in": (str(outer), f"cc:{name}"),
            "out": (f"cc:/{name}", str(outer)),
            "across": (f"cc:/{name}", f"cc:/{name}"),
        }[way]
        done = box.estiva("cp", f"{left}/{source}", f"{right}/{target}", status=None)
        if isinstance(wanted, str):
            right = done.returncode == 1 and wanted in done.stderr and name in done.stderr
        else:
            right = (done.returncode, done.stdout, done.stderr) == (0, "", "")
            for path, text in wanted.items():
                where = outer / path if way == "out" else pathlib.Path(f"{root}/{name}/{path}")
                right = right and where.read_text() == text
        if not right:
            wrong.append((source, target, done))
    assert not wrong


def test_symlinks(box, here):
    inner = f"cc:/{here.name}"
    (here / "link").symlink_to("file")
    (here / "folder").symlink_to("src")
    box.estiva("cp", here / "link", f"{inner}/as-link")
    box.estiva("cp", "-L", here / "link", f"{inner}/as-file")
    box.estiva("cp", here / "folder", f"{inner}/as-folder-link")
    box.estiva("cp", "-L", here / "folder", f"{inner}/dir")
    box.estiva("cp", f"{here}/folder/.", f"{inner}/slash-dot")
    top = f"cd /{here.name}; "
    looked = shell(
        box, top + "readlink as-link; readlink as-folder-link; cat as-file dir/folder/a slash-dot/a"
    )
    assert looked == "file\nsrc\nfileaa"
    # a link in the container as the target is followed inside of it, one to nothing too
    shell(
        box,
        top
        + f"ln -s /{here.name}/dir to-dir; ln -s dir/old2 to-file; echo -n x > dir/old2; ln -s /{here.name}/dir/made to-new",
    )
    for link in ("to-dir", "to-file", "to-new"):
        box.estiva("cp", here / "file", f"{inner}/{link}")
    assert shell(box, top + "cat dir/file dir/old2 dir/made; readlink to-file") == "filefilefiledir/old2"
    # absolute links, and .. , end at the container's root
    shell(box, top + "ln -s /../../../../etc/passwd out; ln -s / rootlink")
    box.estiva("cp", "-L", f"{inner}/out", here / "passwd")
    box.estiva("cp", f"{inner}/rootlink/../../etc/passwd", here / "passwd2")
    assert (
        (here / "passwd").read_text()
        == (here / "passwd2").read_text()
        != pathlib.Path("/etc/passwd").read_text()
    )
    box.estiva("cp", f"{inner}/out", here / "out")
    assert os.readlink(here / "out") == "/../../../../etc/passwd"


def test_owners_modes_links_holes(box, here):
    os.chown(here / "src/a", 33, 44)
    os.chmod(here / "src/a", 0o4750)
    os.link(here / "src/a", here / "src/sub/hard")
    os.utime(here / "src/a", ns=(1, 10**18 + 5))
    with open(here / "src/holes", "wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
    inner = f"cc:/{here.name}"
    box.estiva("cp", here / "src", f"{inner}/plain")
    box.estiva("cp", "-a", here / "src", f"{inner}/kept")
    look = f"cd /{here.name}; stat -c '%u:%g %a %h %Y' plain/a kept/a kept/sub/hard; stat -c '%s' plain/holes; du -k plain/holes"
    assert shell(box, look).splitlines() == [
        "0:0 750 2 1000000000", "33:44 4750 2 1000000000", "33:44 4750 2 1000000000", str((1 << 30) + 3), "4\tplain/holes",
    ]  # fmt: skip
    box.estiva("cp", f"{inner}/kept", here / "plain")
    box.estiva("cp", "-a", f"{inner}/kept", here / "kept")
    for name, owner in (("plain", (0, 0)), ("kept", (33, 44))):
        found = os.stat(here / name / "a")
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, 0o750)  # never setuid
        assert found.st_nlink == 2 and found.st_mtime_ns == 10**18 + 5
        assert os.stat(here / name / "holes").st_blocks < 100


def test_archives(box, here):
    inner = f"cc:/{here.name}"
    box.estiva("cp", here / "src", f"{inner}/src")
    for path, names in (
        ("src", ["src", "src/a", "src/sub", "src/sub/b"]),
        ("src/.", [".", "a", "sub", "sub/b"]),
        ("src/a", ["a"]),
    ):
        data = box.estiva("cp", f"{inner}/{path}", "-", text=False).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert sorted(tar.getnames()) == names
    for kind in ("", "gz", "xz", "bz2"):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode=f"w:{kind}") as tar:
            tar.add(here / "src", "top")
            device = tarfile.TarInfo("top/device")
            device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
            tar.addfile(device)
        done = box.estiva("cp", "-", f"{inner}/dir", input=made.getvalue(), text=False)
        assert done.stderr == b"WARNING: top/device was left out: it is a device\n"
        assert shell(box, f"cd /{here.name}/dir; cat top/a top/sub/b; ls top; rm -r top") == "aba\nsub"
    for path, words in (("old", "must be a folder"), ("no", "must be a folder")):
        assert words in box.estiva("cp", "-", f"{inner}/{path}", input="", status=1).stderr
    assert "can't be unpacked" in box.estiva("cp", "-", f"{inner}/dir", input="x" * 5000, status=1).stderr


def test_stopped_paused_and_never_started(box, here):
    box.estiva(
        "create",
        "--name",
        "ss",
        "--network",
        "none",
        "-v",
        "vol:/vol",
        "-v",
        f"{here}:/bound:ro",
        IMAGE,
        "cat",
        "/here",
        "/vol/s",
    )
    box.estiva("cp", here / "file", "ss:/here")
    box.estiva("cp", here / "file", "ss:/vol/s")
    assert shell(box, "cat /vol/s") == "file"
    box.estiva("cp", "ss:/bound/src/a", here / "bound-a")
    assert (here / "bound-a").read_text() == "a"
    assert "read-only" in box.estiva("cp", here / "file", "ss:/bound/x", status=1).stderr
    assert box.out("start", "-a", "ss") == "filefile"
    box.estiva("cp", "ss:/here", here / "again")
    box.estiva("cp", "ss:/here", "cc:/from-s")
    assert (here / "again").read_text() == shell(box, "cat /from-s") == "file"
    assert box.out("ps", "-a", "--filter", "name=^ss$", "--format", "{{.State}}") == "exited"
    assert "/etc" not in box.out("diff", "ss")  # the image has no /etc/hosts to mount on
    box.estiva("rm", "ss")
    box.estiva("pause", "cc")
    try:
        box.estiva("cp", here / "file", "cc:/paused")
        box.estiva("cp", "cc:/paused", here / "paused")
    finally:
        box.estiva("unpause", "cc")
    assert (here / "paused").read_text() == "file"
    box.estiva("create", "--name", "rr", "--read-only", "-v", "vol:/vol", IMAGE, "true")
    assert "read-only" in box.estiva("cp", here / "file", "rr:/x", status=1).stderr
    box.estiva("cp", here / "file", "rr:/vol/y")
    box.estiva("rm", "rr")
    assert not [line for line in box.mounts() if "erofs" not in line]


def test_what_is_mounted_stays_mounted(box, here):
    box.estiva("cp", here / "file", "cc:/etc/hosts")
    assert shell(box, "cat /etc/hosts; grep -c ' /etc/hosts ' /proc/mounts") == "file1"
    box.estiva("cp", here / "file", "cc:/tm/file")
    assert shell(box, "cat /tm/file") == "file"
    box.estiva("cp", "cc:/tm", here / "tm")
    assert (here / "tm/file").read_text() == "file"


def test_user_namespaces(box, here):
    os.chown(here / "src/a", 5, 6)
    box.estiva("run", "-d", "--name", "uu", "--network", "none", "--userns", "auto", IMAGE, "sleep", "600")
    box.estiva("cp", here / "src", "uu:/plain")
    box.estiva("cp", "-a", here / "src", "uu:/kept")
    look = "stat -c %u:%g /plain/a /kept/a"
    assert shell(box, look, "uu") == "0:0\n5:6"
    box.estiva("cp", "-a", "uu:/kept", here / "kept")
    assert os.stat(here / "kept/a").st_uid == 5
    assert box.estiva("cp", "uu:/kept", "-", text=False).stdout[108:116] == b"0000000\0"
    box.estiva("stop", "-t", "0", "uu")
    box.estiva("cp", "-a", here / "src", "uu:/later")
    box.estiva("start", "uu")
    assert shell(box, "stat -c %u:%g /later/a", "uu") == "5:6"
    os.chown(here / "src/a", 4000000, 6)
    assert "has no id 4000000" in box.estiva("cp", "-a", here / "src", "uu:/no", status=1).stderr
    box.estiva("rm", "-f", "uu")


def test_a_folder_into_itself(box, here):
    box.estiva("cp", f"cc:/{here.name}", f"cc:/{here.name}/dir")
    assert shell(box, f"find /{here.name}/dir -type f") == f"/{here.name}/dir/{here.name}/old"


def test_a_disk_that_is_full(box, here):
    """Half a file is none; what was copied before is told."""
    box.estiva(
        "run", "-d", "--name", "ff", "--network", "none", "--tmpfs", "/small:size=1m", IMAGE, "sleep", "600"
    )
    (here / "src/zz").write_bytes(b"x" * (2 << 20))
    told = box.estiva("cp", f"{here}/src/.", "ff:/small", status=1).stderr
    assert "no space left" in told and "zz" in told
    assert "zz" not in shell(box, "ls -a /small", "ff") and "estiva-cp" not in shell(
        box, "ls -a /small", "ff"
    )
    box.estiva("rm", "-f", "ff")


def test_words(box, here):
    for words, told in (
        (["a", "b"], "must be CONTAINER:PATH"),
        (["cc:", "x"], "is empty"),
        ([":/x", "x"], "is empty"),
        (["nobody:/x", "x"], "no such container: nobody"),
        (["cc:/no/thing", "x"], "no such file or folder: cc:/no/thing"),
        (["-", "x"], "must be CONTAINER:PATH"),
    ):
        assert told in box.estiva("cp", *words, status=None).stderr
    odd = here / "with:colon"
    odd.write_text("x")
    box.estiva("cp", odd, "cc:/odd")
    box.estiva("cp", "cc:/odd", f"./{here.name}/again:colon")
    assert (here / "again:colon").read_text() == "x"


def test_events(box, here):
    for words in ((here / "file", "cc:/event"), ("cc:/event", here / "event"), ("cc:/event", "cc:/event2")):
        box.estiva("cp", *words)
    said = box.out(
        "events", "--since", "1m", "--until", "0s", "--filter", "container=cc", "--format", "{{.Action}}"
    )
    assert said.split()[-4:] == ["extract-to-dir", "archive-path", "archive-path", "extract-to-dir"]


def test_setuid_of_another_is_not_root_s(box, here):
    for name, owner, mode in (
        ("su", (1000, 1000), 0o4755),
        ("sg", (0, 1000), 0o6755),
        ("root", (0, 0), 0o6755),
    ):
        path = here / "src" / name
        path.write_text(name)
        os.chown(path, *owner)
        os.chmod(path, mode)
    inner = f"cc:/{here.name}"
    for name in ("su", "sg", "root"):
        box.estiva("cp", here / "src" / name, f"{inner}/{name}")
    box.estiva("cp", here / "src", f"{inner}/plain")
    box.estiva("cp", "-a", here / "src", f"{inner}/kept")
    box.estiva("cp", f"{inner}/kept", f"{inner}/across")
    box.estiva("run", "-d", "--name", "us", "--network", "none", "--userns", "auto", IMAGE, "sleep", "600")
    box.estiva("cp", f"{inner}/kept", "us:/plain")
    box.estiva("cp", "-a", f"{inner}/kept", "us:/kept")
    box.estiva("cp", "us:/kept", f"{inner}/back")
    look = "cd %s && stat -c '%%u:%%g %%a' su sg root"
    lost = ["0:0 755", "0:0 4755", "0:0 6755"]
    kept = ["1000:1000 4755", "0:1000 6755", "0:0 6755"]
    for folder in (".", "plain", "across", "back"):
        assert shell(box, look % f"/{here.name}/{folder}").splitlines() == lost, folder
    assert shell(box, look % f"/{here.name}/kept").splitlines() == kept
    assert shell(box, look % "/plain", "us").splitlines() == lost
    assert shell(box, look % "/kept", "us").splitlines() == kept
    box.estiva("rm", "-f", "us")


def test_an_archive_keeps_its_owners(box, here):
    def packed(*owners):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for number, (uid, gid) in enumerate(owners):
                member = tarfile.TarInfo(f"d/{number}")
                member.uid, member.gid, member.mode = uid, gid, 0o6755
                tar.addfile(member)
        return made.getvalue()

    inner, look = f"cc:/{here.name}/dir", "stat -c '%u:%g %a' d d/*"
    box.estiva("cp", "-", inner, input=packed((33, 44), (0, 0), (4000000, 5)), text=False)
    kept = ["0:0 755", "33:44 6755", "0:0 6755", "4000000:5 6755"]
    assert shell(box, f"cd /{here.name}/dir && {look}").splitlines() == kept
    stream = box.estiva("cp", f"{inner}/d", "-", text=False).stdout
    box.estiva("run", "-d", "--name", "ua", "--network", "none", "--userns", "auto", IMAGE, "sleep", "600")
    box.estiva("cp", "-", "ua:/tmp", input=stream, text=False)
    kept[-1] = "0:0 755"  # a user that this namespace lacks
    assert shell(box, f"cd /tmp && {look}", "ua").splitlines() == kept
    again = box.estiva("cp", "-a", "-", "ua:/tmp", input=stream, text=False, status=1)
    assert b"has no id 4000000:5" in again.stderr
    box.estiva("rm", "-f", "ua")


def test_a_limit_of_file_sizes_is_told_with_both_places(box, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 300_000)
    container = box.out("create", IMAGE, "true")
    line = 'ulimit -f 100; exec "$@"'
    words = ["sh", "-c", line, "sh", ESTIVA, "cp", f"{tmp_path}/big", f"{container}:/big"]
    done = subprocess.run([*box.prefix, *words], env=box.env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/big -> " in done.stderr and ":/big: file too large" in done.stderr
    box.estiva("rm", container)


def test_a_device_of_the_host_is_not_replaced(box, tmp_path):
    node = tmp_path / "null"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "link").symlink_to(node)
    container = box.out("create", IMAGE, "true")
    for target in ("null", "link"):
        for source in ("/etc/passwd", "/etc"):
            done = box.estiva("cp", f"{container}:{source}", tmp_path / target, status=1)
            assert "is a device, which is not replaced" in done.stderr and done.stderr.count("\n") == 2
    assert stat.S_ISCHR(node.stat().st_mode)
    box.estiva("rm", container)
