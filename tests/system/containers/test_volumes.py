"""Volumes: those with options, what fills an empty one, who removes them; two starts on a new one, and kills."""

import concurrent.futures
import json
import os
import pathlib
import subprocess

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, eventually, host

pytestmark = requires_kernel


@pytest.fixture(scope="module")
def box():
    with host() as made:
        script = "FROM box:1\nRUN mkdir -m 711 /full && for i in $(seq 300); do echo $i > /full/$i; done && chown 5:6 /full\n"
        pathlib.Path(made.folder, "Dockerfile").write_text(script)
        made.estiva("build", "-q", "-t", "full:1", "--network", "none", made.folder)
        yield made


def run(box, *words, status=0):
    done = box.estiva("run", "--rm", "--network", "none", *words, status=status)
    return done.stderr if status else done.stdout.rstrip("\n")


def create(box, name, status=0, **options):
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return box.estiva("volume", "create", *words, name, status=status).stderr


def test_a_tmpfs_is_one_for_containers_that_start_at_the_same_time(box):
    create(box, "both", type="tmpfs", device="tmpfs")
    create(box, "also", type="tmpfs", device="tmpfs")
    starts = []
    for n in range(6):
        volumes = ["-v", "both:/r", "-v", "also:/a"] if n % 2 else ["-v", "also:/a", "-v", "both:/r"]
        command = [IMAGE, "sh", "-c", f"touch /r/{n} /a/{n} && sleep 300"]
        starts.append(
            box.start("run", "-d", "--name", f"s{n}", "--network", "none", *volumes, *command, stdout=-3)
        )
    assert [one.wait(120) for one in starts] == [0] * 6
    for n in (0, 5):
        eventually(lambda n=n: box.out("exec", f"s{n}", "ls", "/r").split() == list("012345"))
        eventually(lambda n=n: box.out("exec", f"s{n}", "ls", "/a").split() == list("012345"))
    box.estiva("rm", "-f", *(f"s{n}" for n in range(6)))
    box.estiva("volume", "rm", "both", "also")


def test_a_tmpfs(box):
    """its containers share it while one of them runs; nothing is mounted on the host"""
    create(box, "ram", type="tmpfs", device="tmpfs", o="size=1m,uid=7,noexec")
    assert box.out("volume", "inspect", "-f", "{{json .Options}}", "ram") == json.dumps(
        {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7,noexec"}, separators=(",", ":")
    )
    box.estiva("run", "-d", "--name", "one", "--network", "none", "-v", "ram:/r", IMAGE, "sleep", "600")
    assert box.out("exec", "one", "grep", " /r ", "/proc/mounts").startswith(
        "tmpfs /r tmpfs rw,noexec,relatime,size=1024k,uid=7"
    )
    run(box, "-v", "ram:/other", IMAGE, "sh", "-c", "echo shared > /other/file")
    assert box.out("exec", "one", "cat", "/r/file") == "shared"
    assert (
        run(
            box,
            "-v",
            "ram:/other:ro",
            IMAGE,
            "sh",
            "-c",
            "cat /other/file; touch /other/x 2>/dev/null || echo ro",
        )
        == "shared\nro"
    )
    assert not [line for line in box.mounts() if "erofs" not in line]
    box.estiva("rm", "-f", "one")
    assert run(box, "-v", "ram:/other", IMAGE, "ls", "/other") == ""
    assert "in use" not in box.estiva("volume", "rm", "ram").stderr


def test_a_bind(box, tmp_path):
    (tmp_path / "file").write_text("host")
    create(box, "bound", type="none", device=tmp_path, o="bind,ro")
    assert (
        run(box, "-v", "bound:/b", IMAGE, "sh", "-c", "cat /b/file; touch /b/x 2>/dev/null || echo ' ro'")
        == "host ro"
    )
    assert (
        run(
            box,
            "--mount",
            f"type=volume,src=bound2,dst=/b,volume-opt=device={tmp_path},volume-opt=o=bind",
            IMAGE,
            "cat",
            "/b/file",
        )
        == "host"
    )
    os.rename(tmp_path, f"{tmp_path}.away")
    told = run(box, "-v", "bound:/b", IMAGE, "true", status=125)
    assert f"volume bound: its device {tmp_path}: no such file" in told


def test_a_disk(box, tmp_path):
    image = tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    loop = subprocess.run(
        ["losetup", "-f", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        create(box, "disk", type="ext4", device=loop)
        run(box, "-v", "disk:/d", IMAGE, "sh", "-c", "echo kept > /d/file")
        assert run(box, "-v", "disk:/d:ro", IMAGE, "cat", "/d/file") == "kept"
        box.estiva("create", "--name", "dd", "-v", "disk:/d", IMAGE, "true")
        box.estiva("cp", "dd:/d/file", tmp_path / "copied")
        assert (tmp_path / "copied").read_text() == "kept\n"
        box.estiva("rm", "dd")
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"type": "ext4", "device": "/dev/nothing"}, "volume bad: failed to mount ext4 /dev/nothing"),
        ({"type": "nosuch", "device": "x"}, "volume bad: this machine's kernel has no filesystem nosuch"),
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "nonsense=1"},
            "volume bad: failed to mount tmpfs tmpfs with nonsense=1",
        ),
        ({"device": "/nosuch/folder", "o": "bind"}, "volume bad: its device /nosuch/folder: no such file"),
    ],
)
def test_what_can_t_be_mounted(box, options, told):
    create(box, "bad", **options)
    assert told in run(box, "-v", "bad:/b:nocopy", IMAGE, "true", status=125)
    box.estiva("volume", "rm", "bad")
    assert box.out("ps", "-aq") == ""


def test_refusals(box):
    assert "the volume name x is too short" in create(box, "x", status=1)
    for words, told in (
        (["-o", "type=nfs", "x"], 'volume x: missing required option: "device"'),
        (["-o", "foo=bar", "x"], 'volume x: invalid option: "foo"'),
        (["-o", "size=1g", "x"], "needs a quota"),
        (["-d", "nfs", "x"], "the volume driver nfs is not known here"),
    ):
        assert told in box.estiva("volume", "create", *words, status=1).stderr
    assert "swarm" in box.estiva("volume", "update", "x", status=1).stderr
    assert "volume driver rexray is not supported" in run(
        box, "--volume-driver", "rexray", "-v", "used:/x", IMAGE, "true", status=125
    )
    box.estiva("create", "--name", "user", "-v", "used:/x", IMAGE, "true")
    short = box.out("ps", "-aq")
    assert (
        f"volume used is in use by container {short}" in box.estiva("volume", "rm", "used", status=1).stderr
    )
    box.estiva("rm", "user")
    box.estiva("volume", "rm", "-f", "used", "nosuch")


def test_what_fills_an_empty_volume(box):
    look = ["sh", "-c", "ls /full | wc -l; stat -c '%u:%g %a' /full; stat -c %Y /full/7"]
    full = run(box, "full:1", *look)
    assert full.startswith("300\n5:6 711")
    for words in (["-v", "new:/full"], ["-v", "/full"], ["--mount", "type=volume,dst=/full"]):
        assert run(box, *words, "full:1", *look) == full
    box.estiva("volume", "create", "empty")
    assert run(box, "-v", "empty:/full:nocopy", "full:1", "sh", "-c", "ls /full | wc -l") == "0"
    assert (
        run(
            box,
            "--mount",
            "type=volume,src=empty,dst=/full,volume-nocopy",
            "full:1",
            "sh",
            "-c",
            "ls /full | wc -l",
        )
        == "0"
    )
    assert run(box, "-v", "empty:/full", "full:1", *look) == full  # made before, and empty: Docker's rule
    run(box, "-v", "some:/x", IMAGE, "touch", "/x/mine")
    assert run(box, "-v", "some:/full", "full:1", "ls", "/full") == "mine"


def test_many_starts_on_a_new_volume(box):
    """none sees half of what fills it"""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name in ("first", "second"):
            counts = list(
                pool.map(
                    lambda _, name=name: run(
                        box, "-v", f"{name}:/full", "full:1", "sh", "-c", "ls /full | wc -l"
                    ),
                    range(8),
                )
            )
            assert counts == ["300"] * 8


def test_who_was_killed_while_filling(box):
    """before all was there: begun anew; after that: the rest is moved, and what somebody wrote stays"""
    top = pathlib.Path(box.folder, "root/volumes/half")
    box.estiva("volume", "create", "half")
    (top / "filling").mkdir()
    (top / "filling/7").write_text("torn")
    assert run(box, "-v", "half:/full", "full:1", "sh", "-c", "ls /full | wc -l; cat /full/7") == "300\n7"
    assert os.listdir(top) == ["_data"]
    (top / "filled").mkdir()
    for name in ("8", "new"):
        (top / "filled" / name).write_text("theirs")
    assert (
        run(box, "-v", "half:/full", "full:1", "sh", "-c", "ls /full | wc -l; cat /full/8 /full/new")
        == "301\n8\ntheirs"
    )
    assert os.listdir(top) == ["_data"]


def test_prune_and_ls(box):
    for word in box.out("volume", "ls", "-q").split():
        box.estiva("volume", "rm", word)
    box.estiva("volume", "create", "--label", "keep=1", "kept")
    box.estiva("volume", "create", "plain")
    box.estiva("create", "--name", "hold", "-v", "/full", "full:1", "true")
    (anonymous,) = [name for name in box.out("volume", "ls", "-q").split() if len(name) == 64]
    box.estiva("rm", "hold")
    assert box.out("volume", "ls", "-q", "-f", "dangling=true").split() == sorted(
        [anonymous, "kept", "plain"]
    )
    assert box.out("volume", "ls", "-q", "-f", "label=keep").split() == ["kept"]
    assert box.out("volume", "ls", "-q", "-f", "driver=other") == ""
    assert anonymous in box.out("volume", "prune", "-f") and "kept" in box.out("volume", "ls", "-q")
    box.estiva("volume", "prune", "-f", "--filter", "all=true", "--filter", "label!=keep")
    assert box.out("volume", "ls", "-q") == "kept"
    create(box, "ram", type="tmpfs", device="tmpfs")
    box.estiva("volume", "prune", "-f", "-a")
    assert box.out("volume", "ls", "-q") == "ram"
    box.estiva("volume", "prune", "-f", "--filter", "all=true")
    box.estiva("system", "prune", "-f", "--volumes")
    assert box.out("volume", "ls", "-q") == "ram"
    box.estiva("volume", "rm", "ram")


def test_export_and_import(box, tmp_path):
    run(
        box,
        "-v",
        "from:/v",
        IMAGE,
        "sh",
        "-c",
        "mkdir -m 700 /v/d; echo x > /v/d/f; chown 5:6 /v/d/f; ln -s /etc /v/l",
    )
    box.estiva("volume", "create", "into")
    box.estiva("volume", "export", "-o", tmp_path / "tar", "from")
    box.estiva("volume", "import", "into", tmp_path / "tar")
    data = box.estiva("volume", "export", "from", text=False).stdout
    box.estiva("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
    box.estiva("run", "-d", "--name", "mm", "--network", "none", "-v", "memory:/m", IMAGE, "sleep", "600")
    box.estiva("volume", "import", "memory", "-", input=data, text=False)
    look = "stat -c '%u:%g' {0}/d/f; stat -c %a {0}/d; readlink {0}/l"
    assert run(box, "-v", "into:/v", IMAGE, "sh", "-c", look.format("/v")) == "5:6\n700\n/etc"
    assert box.out("exec", "mm", "sh", "-c", look.format("/m")) == "5:6\n700\n/etc"
    box.estiva("rm", "-f", "mm")
    for words, told in (
        (["into", "/nosuch"], "no such file"),
        (["nosuch", tmp_path / "tar"], "no such volume: nosuch"),
    ):
        assert told in box.estiva("volume", "import", *words, status=1).stderr
    assert (
        "can't be unpacked" in box.estiva("volume", "import", "into", "-", input="x" * 2000, status=1).stderr
    )


def test_a_volume_is_made_once(box):
    words = "--filter", "type=volume", "--filter", "event=create", "--format", "{{.Actor.ID}}"

    def told():
        return box.out("events", "--since", "1", "--until", "0s", *words).split()

    before = len(told())
    box.estiva("volume", "create", "once")
    box.estiva("volume", "create", "once")
    for mount in (("-v", "once:/x"), ("--mount", "type=volume,src=once,dst=/x"), ("-v", "twice:/x")) * 2:
        run(box, *mount, IMAGE, "true")
    run(box, "-v", "/x", IMAGE, "true")
    made = told()[before:]
    assert [made.count("once"), made.count("twice"), len(made)] == [1, 1, 3], made


def test_errors_name_the_volume_and_what_is_in_it(box, tmp_path):
    create(box, "named")
    mount = "type=volume,src=named,dst=/n,volume-subpath="
    words = ["run", "--rm", "--network", "none", "--mount"]
    told = box.estiva(*words, mount + "none/here", IMAGE, "true", status=125).stderr
    assert "no none/here is in the volume named: no such file or directory" in told
    told = box.estiva(*words, mount + "../x", IMAGE, "true", status=125).stderr
    assert "volume-subpath ../x must be a relative path that stays inside of the volume named" in told
    (tmp_path / "big").write_bytes(b"x" * 300_000)
    subprocess.run(["tar", "cf", tmp_path / "tar", "-C", tmp_path, "big"], check=True)
    create(box, "small", type="tmpfs", device="tmpfs", o="size=64k")
    told = box.estiva("volume", "import", "small", tmp_path / "tar", status=1).stderr
    assert "volume small: big: no space left on device" in told
    box.estiva("volume", "rm", "named", "small")


REMOVED = f"""
from estiva.engine import Engine
from estiva.engine.containers import create, folder
engine, make = Engine(), folder.make
def removed_first(*words, **more):
    engine.store.volumes.remove("raced")
    make(*words, **more)
folder.make = removed_first
print(create.create(engine, {{"Image": {IMAGE!r}, "Cmd": ["true"]}}, {{"Binds": ["raced:/r"]}}, name="racer")["Id"])
"""


def test_one_that_is_removed_while_a_container_with_it_is_made_is_made_again(box):
    create(box, "raced")
    container = box.python(REMOVED).strip()
    assert box.db("SELECT * FROM container_volumes") == [(container, "raced")]
    assert "in use by container" in box.estiva("volume", "rm", "raced", status=1).stderr
    assert os.path.isdir(f"{box.folder}/root/volumes/raced/_data")
    box.estiva("rm", "racer")
    box.estiva("volume", "rm", "raced")
