"""Mounts of every kind on the real kernel: images, overlays that are thrown away, subpaths, what others lend, tmpfs."""

import os
import pathlib
import subprocess

import pytest

from bundle import requires_kernel
from enginekit import ESTIVA, IMAGE, host

pytestmark = requires_kernel


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def run(box, *words, status=0):
    """What a container prints; its error with a status."""
    done = box.estiva("run", "--rm", "--network", "none", *words, status=status)
    return done.stderr if status else done.stdout.rstrip("\n")


def test_an_image_is_mounted_read_only_and_nothing_extracted(box):
    pathlib.Path(box.folder, "top").write_text("layer of its own")
    container = box.out("create", IMAGE, "true")
    box.estiva("cp", f"{box.folder}/top", f"{container}:/etc/top")
    box.estiva("commit", container, "two:1")
    box.estiva("rm", container)
    mount = "type=image,source=two:1,target=/i"
    script = "cat /i/etc/top; ls /i; touch /i/x 2>&1; grep -c ' /i ' /proc/mounts"
    *_, refused, count = run(box, "--mount", mount, IMAGE, "sh", "-c", script).splitlines()
    assert "Read-only" in refused and count == "1"
    assert run(box, "--mount", mount + ",subpath=etc/top", IMAGE, "cat", "/i") == "layer of its own"
    assert "passwd" in run(box, "--mount", mount + ",image-subpath=etc", IMAGE, "ls", "/i")
    for _ in range(2):  # what is written goes with the container
        script = "ls /i | grep new; echo > /i/new && echo written"
        assert run(box, "--mount", mount + ",rw=true", IMAGE, "sh", "-c", script) == "written"
    missing = ("--mount", "type=image,src=127.0.0.1:1/none:1,dst=/i", IMAGE, "true")
    assert "no such image: 127.0.0.1:1/none:1" in run(box, "--pull", "never", *missing, status=125)
    assert "127.0.0.1:1/none:1 is not here and can't be pulled" in run(box, *missing, status=125)
    assert "no etc/none is in the image two:1" in run(
        box, "--mount", mount + ",subpath=etc/none", IMAGE, "true", status=125
    )
    assert "user namespace" in run(box, "--userns", "auto", "--mount", mount, IMAGE, "true", status=125)
    box.estiva("create", "--name", "later", "--network", "none", "--mount", mount, IMAGE, "cat", "/i/etc/top")
    assert box.out("start", "-a", "later") == "layer of its own"
    two = box.out("image", "inspect", "--format", "{{.Id}}", "two:1")
    for words in (["two:1"], [two], ["-f", two]):
        if "-f" in words:  # takes the names alone
            box.estiva("rmi", "-f", "two:1")
        told = box.estiva("rmi", *words, status=1).stderr
        assert "is in use by container later" in told
    box.estiva("image", "prune", "-af")
    assert box.out("start", "-a", "later") == "layer of its own"
    box.estiva("rm", "later")
    assert f"Deleted: {two}" in box.out("rmi", two)


def test_a_mounted_image_that_is_missing_is_pulled(box):
    words = ["registry", "serve", "--listen", "127.0.0.1:5000", "--root", f"{box.folder}/registry"]
    server = box.start(*words, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline().startswith("serving ")
    ref = "localhost:5000/mounted:1"
    box.estiva("tag", IMAGE, ref)
    box.estiva("push", ref)
    box.estiva("rmi", ref)
    assert "passwd" in run(box, "--mount", f"type=image,src={ref},dst=/i", IMAGE, "ls", "/i/etc")
    box.estiva("rmi", ref)
    server.terminate()
    assert server.wait(120) == 0
    server.stdout.close()


def test_an_overlay_that_is_thrown_away(box, tmp_path):
    lower = tmp_path / "low,er:x"
    lower.mkdir()
    (lower / "file").write_text("low")
    os.chown(lower, 5, 6)
    plain = tmp_path / "plain"
    plain.symlink_to(lower.name)
    script = "cat /o/file; stat -c %u:%g /o; echo up > /o/file; echo > /o/new; ls /o; cat /o/file"
    box.estiva(
        "create", "--name", "oo", "--network", "none", "-v", f"{plain}:/o:O", IMAGE, "sh", "-c", script
    )
    for _ in range(2):
        assert box.out("start", "-a", "oo") == "low5:6\nfile\nnew\nup"
    box.estiva("rm", "oo")
    assert os.listdir(lower) == ["file"] and (lower / "file").read_text() == "low"
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    run(box, "-v", f"{plain}:/o:O,upperdir={upper},workdir={work}", IMAGE, "sh", "-c", "echo up > /o/file")
    assert (upper / "file").read_text() == "up\n"
    told = run(box, "-v", f"{plain}:/o:O,upperdir={tmp_path}/no,workdir={work}", IMAGE, "true", status=125)
    assert f"the upperdir {tmp_path}/no" in told and "is no folder that is there" in told
    assert (
        "Read-only"
        in box.estiva("run", "--rm", "-v", f"{plain}:/o:O,ro", IMAGE, "touch", "/o/x", status=1).stderr
    )


def test_a_subpath_of_a_volume(box):
    run(
        box,
        "-v",
        "data:/v",
        IMAGE,
        "sh",
        "-c",
        "mkdir -p /v/a/b; echo -n deep > /v/a/b/file; ln -s / /v/out; ln -s /etc /v/a/etc",
    )
    mount = "type=volume,src=data,dst=/x,volume-subpath="
    assert run(box, "--mount", mount + "a/b", IMAGE, "sh", "-c", "cat /x/file; ls -d /x/*") == "deep/x/file"
    assert run(box, "--mount", mount + "a/b/file", IMAGE, "cat", "/x") == "deep"
    assert "no such file" in run(box, "--mount", mount + "none", IMAGE, "true", status=125)
    # links end at the volume's own top
    assert run(box, "--mount", mount + "out", IMAGE, "ls", "/x") == "a\nout"
    assert "no such file" in run(box, "--mount", mount + "a/etc", IMAGE, "true", status=125)


def test_read_only_with_all_below_or_not(box, tmp_path):
    """In a mount namespace of the test's own, with a tmpfs below the source."""
    script = f"""
set -e
mount -t tmpfs none {tmp_path} && mkdir {tmp_path}/sub && mount -t tmpfs none {tmp_path}/sub
for how in enabled writable readonly disabled; do
  {ESTIVA} run --rm --network none --mount type=bind,src={tmp_path},dst=/x,ro,bind-recursive=$how {IMAGE} \\
    sh -c 'touch /x/a 2>/dev/null && echo top; touch /x/sub/a 2>/dev/null && echo sub; grep -c " /x/sub " /proc/mounts; true' | tr '\\n' ' '
done
"""
    done = subprocess.run(
        [*box.prefix, "unshare", "-m", "sh", "-c", script], env=box.env, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "sub", "1", "1", "0"], done.stderr


def test_what_another_container_has(box, tmp_path):
    words = [
        "--name",
        "lender",
        "-v",
        "named:/n:ro",
        "-v",
        "/anonymous",
        "-v",
        f"{tmp_path}:/b",
        "--tmpfs",
        "/t",
    ]
    box.estiva("run", "-d", "--network", "none", *words, IMAGE, "sleep", "600")
    box.estiva("exec", "lender", "sh", "-c", "echo one > /anonymous/file; echo two > /b/file")
    script = "cat /anonymous/file /b/file; touch /n/x 2>/dev/null && echo wrote; touch /b/x 2>/dev/null && echo wrote; true"
    assert run(box, "--volumes-from", "lender", IMAGE, "sh", "-c", script) == "one\ntwo\nwrote"
    assert run(box, "--volumes-from", "lender:ro", IMAGE, "sh", "-c", script) == "one\ntwo"
    assert run(box, "--volumes-from", "lender", IMAGE, "sh", "-c", "grep -c ' /t ' /proc/mounts; true") == "0"
    assert (
        run(
            box,
            "--volumes-from",
            "lender:rw,z",
            "-v",
            "own:/b",
            IMAGE,
            "sh",
            "-c",
            "ls /b; cat /anonymous/file",
        )
        == "one"
    )
    box.estiva("stop", "-t", "0", "lender")
    box.estiva(
        "create",
        "--name",
        "heir",
        "--network",
        "none",
        "--volumes-from",
        "lender",
        IMAGE,
        "cat",
        "/anonymous/file",
    )
    box.estiva("rm", "-v", "lender")
    assert box.out("start", "-a", "heir") == "one"  # what is another's too does not go with -v
    (anonymous,) = [name for name in box.out("volume", "ls", "-q").split() if len(name) == 64]
    assert box.out("inspect", "-f", "{{.HostConfig.VolumesFrom}}", "heir") == "[lender]"
    box.estiva("rm", "-v", "heir")
    assert anonymous not in box.out("volume", "ls", "-q").split()
    for word, told in (("lender", "no such container: lender"), ("x:foo", "invalid mode: foo")):
        assert told in run(box, "--volumes-from", word, IMAGE, "true", status=125)


def test_tmpfs_and_devpts(box):
    assert 'invalid tmpfs option "foo"' in run(box, "--tmpfs", "/x:foo", IMAGE, "true", status=125)
    assert (
        run(box, "--tmpfs", "/bin2:size=1m,mode=700,uid=5", IMAGE, "stat", "-c", "%u %a", "/bin2") == "5 700"
    )
    mount = "type=tmpfs,dst=/home,tmpfs-size=1m,tmpfs-mode=711,ro"
    assert (
        run(
            box, "--mount", mount, IMAGE, "sh", "-c", "stat -c %a /home; touch /home/x 2>/dev/null || echo ro"
        )
        == "711\nro"
    )
    script = "cat /etc/group | head -n 1; touch /etc/x 2>/dev/null || echo ro"
    assert (
        run(box, "--mount", "type=tmpfs,dst=/etc,tmpcopyup,ro", IMAGE, "sh", "-c", script) == "root:x:0:\nro"
    )
    found = run(
        box, "--mount", "type=devpts,dst=/pts,mode=600,max=3", IMAGE, "grep", " /pts ", "/proc/mounts"
    )
    assert "mode=600" in found and "max=3" in found
    flags = run(box, "-v", "vv:/v:nosuid,nodev,noexec", IMAGE, "grep", " /v ", "/proc/mounts")
    assert {"nosuid", "nodev", "noexec"} <= set(flags.split()[3].split(","))
