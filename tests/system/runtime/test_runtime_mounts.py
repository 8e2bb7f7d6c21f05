"""config.mounts of a bundle: every option that the runtime-spec names, on the real kernel."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from bundle import Running, config, requires_kernel, run
from estiva.errors import EstivaError, InvalidInput
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel


def spec(script: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    result = config("sh", "-c", script)
    result["mounts"] += mounts
    return result


def info(rootfs: Rootfs, mount: dict[str, Any], script: str = "true") -> list[list[str]]:
    """The lines of mountinfo for a mount at /mnt and below, as (place, options, propagation fields)."""
    mount = {"destination": "/mnt"} | mount
    status, text = run(spec(f"cat /proc/self/mountinfo; {script}", mount), rootfs)
    assert status == 0, text
    found = []
    for line in text.split("\n"):
        words = line.split()
        if len(words) > 6 and (words[4] == "/mnt" or words[4].startswith("/mnt/")):
            dash = words.index("-")
            shared = " ".join(word.split(":")[0] for word in words[6:dash])
            found.append([words[4], words[5] + "|" + words[-1], shared])
    return found


FLAGS = [
    ("ro", "ro", "rw"), ("nosuid", "nosuid", "suid"), ("nodev", "nodev", "dev"), ("noexec", "noexec", "exec"),
    ("noatime", "noatime", "atime"), ("nodiratime", "nodiratime", "diratime"),
    ("nosymfollow", "nosymfollow", "symfollow"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "shown", "opposite"), FLAGS)
def test_flags_and_their_opposites(
    option: str, shown: str, opposite: str, rootfs: Rootfs, tmp_path: Any
) -> None:
    for mount in ({"type": "tmpfs", "source": "tmpfs"}, {"source": str(tmp_path), "type": "none"}):
        bind = [] if mount["source"] == "tmpfs" else ["bind"]
        ((_, options, _),) = info(rootfs, mount | {"options": [*bind, option]})
        assert shown in options.split("|")[0].split(",")
        ((_, options, _),) = info(rootfs, mount | {"options": [*bind, option, opposite]})
        assert shown not in options.split("|")[0].split(",")


@pytest.mark.parametrize(
    "option", ["async", "sync", "dirsync", "lazytime", "nolazytime", "iversion", "noiversion", "loud", "silent",
               "defaults", "relatime", "norelatime", "strictatime", "nostrictatime", "mand", "nomand", "acl", "noacl",
               "nofail"],
)  # fmt: skip
def test_options_that_say_little(option: str, rootfs: Rootfs) -> None:
    ((_, options, _),) = info(rootfs, {"type": "tmpfs", "source": "tmpfs", "options": [option, "size=64k"]})
    assert "size=64k" in options
    assert option not in ("sync", "dirsync", "lazytime") or option in options


@pytest.fixture
def tree(tmp_path: Any) -> Any:
    """A folder with a tmpfs inside it, in a mount namespace of the test's own process tree."""
    inner = tmp_path / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inner], check=True)
    subprocess.run(["mount", "--make-private", inner], check=True)  # where / is shared it would be too
    yield tmp_path
    subprocess.run(["umount", "-l", inner], check=True)


@pytest.mark.parametrize(("option", "shown"), [("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"),
                                               ("rnoexec", "noexec"), ("rnoatime", "noatime"),
                                               ("rnodiratime", "nodiratime"), ("rnosymfollow", "nosymfollow")])  # fmt: skip
def test_recursive_flags(option: str, shown: str, rootfs: Rootfs, tree: Any) -> None:
    found = info(rootfs, {"source": str(tree), "options": ["rbind", option]})
    assert [place for place, _, _ in found] == ["/mnt", "/mnt/inner"]
    assert all(shown in options.split("|")[0].split(",") for _, options, _ in found)
    found = info(rootfs, {"source": str(tree), "options": ["rbind", shown]})
    assert [shown in options.split("|")[0].split(",") for _, options, _ in found] == [True, False]


@pytest.mark.parametrize(
    ("option", "top", "below"),
    [("shared", "shared", ""), ("rshared", "shared", "shared"), ("private", "", ""), ("rprivate", "", ""),
     ("unbindable", "unbindable", ""), ("runbindable", "unbindable", "unbindable")],
)  # fmt: skip
def test_propagation(option: str, top: str, below: str, rootfs: Rootfs, tree: Any) -> None:
    found = info(rootfs, {"source": str(tree), "options": ["rbind", option]})
    assert [shared for _, _, shared in found] == [top, below]


def test_a_slave_receives_what_the_host_mounts(rootfs: Rootfs, tree: Any) -> None:
    subprocess.run(["mount", "--make-shared", tree / "inner"], check=True)
    found = info(rootfs, {"source": str(tree), "options": ["rbind", "rslave"]})
    assert [shared for _, _, shared in found][1] == "master"
    found = info(rootfs, {"source": str(tree), "options": ["rbind", "rprivate"]})
    assert [shared for _, _, shared in found][1] == ""


def test_what_a_container_mounts_in_a_shared_bind_shows_on_the_host(rootfs: Rootfs, tree: Any) -> None:
    subprocess.run(["mount", "--make-shared", tree / "inner"], check=True)
    for option, seen in (("rshared", True), ("rslave", False)):
        name = tree / "inner" / option
        name.mkdir()
        it = spec(f"mount -t tmpfs tmpfs /mnt/inner/{option} && touch /mnt/inner/{option}/x && read line")
        it["mounts"].append({"destination": "/mnt", "source": str(tree), "options": ["rbind", option]})
        for caps in it["process"]["capabilities"].values():
            caps.append("CAP_SYS_ADMIN")
        it["process"]["args"][2] += "; echo never"
        with Running(it, rootfs) as box:
            box.read("never")
            assert (name / "x").exists() == seen


def test_a_relative_destination_and_no_type(rootfs: Rootfs, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("here")
    mount = {"destination": "mnt", "source": str(tmp_path), "options": ["bind", "ro", "mode=755", "size=1k"]}
    assert run(spec("cat /mnt/file", mount), rootfs) == (0, "here")


def test_remount(rootfs: Rootfs, tmp_path: Any) -> None:
    first = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]}
    again = {
        "destination": "/mnt",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["remount", "ro", "size=128k"],
    }
    _, text = run(spec("grep ' /mnt ' /proc/self/mountinfo", first, again), rootfs)
    assert " ro," in text and "size=128k" in text and text.count("\n") == 1
    (tmp_path / "file").write_text("here")
    bind = {"destination": "/mnt", "source": str(tmp_path), "options": ["bind"]}
    again = {"destination": "/mnt", "options": ["bind", "remount", "ro", "nosuid"]}
    _, text = run(spec("grep ' /mnt ' /proc/self/mountinfo; cat /mnt/file", bind, again), rootfs)
    assert " ro,nosuid" in text and text.endswith("here") and text.count("\n") == 1


def test_tmpcopyup(rootfs: Rootfs) -> None:
    root = f"{rootfs.lowerdirs[0]}/etc"
    mount = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nosuid"]}
    script = "cat /etc/passwd; stat -c %a /etc; touch /etc/x && grep -c ' /etc ' /proc/self/mountinfo"
    status, text = run(spec(script, mount), rootfs)
    assert (status, text.split("\n")[-3:]) == (0, ["755", "1", ""])
    assert text.startswith(open(f"{root}/passwd").read())
    assert not os.path.exists(f"{rootfs.upper}/etc/x")


def test_tmpcopyup_keeps_all_that_a_file_is(rootfs: Rootfs) -> None:
    root = f"{rootfs.upper}/data"
    os.makedirs(f"{root}/sub", mode=0o751)
    os.chmod(f"{root}/sub", 0o1751)
    with open(f"{root}/sub/file", "w") as file:
        file.write("x" * 100000)
    os.chown(f"{root}/sub/file", 12, 34)
    os.chmod(f"{root}/sub/file", 0o4755)
    os.utime(f"{root}/sub/file", (1000, 2000))
    os.symlink("sub/file", f"{root}/link")
    os.mkfifo(f"{root}/fifo")
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "mode=700"]}
    script = "cd /data; stat -c '%n %a %u %g %Y %s' . sub sub/file; readlink link; test -p fifo && echo fifo"
    _, text = run(spec(script, mount), rootfs)
    lines = text.split("\n")
    assert lines[0].startswith(". 700 0 0") and lines[1].startswith("sub 1751 0 0")
    assert lines[2:5] == ["sub/file 4755 12 34 2000 100000", "sub/file", "fifo"]


def test_idmap(rootfs: Rootfs, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        os.chown(path, 1000, 1001)
    mapped = {
        "destination": "/mnt", "source": str(tmp_path), "options": ["bind", "idmap"],
        "uidMappings": [{"containerID": 1000, "hostID": 0, "size": 10}],
        "gidMappings": [{"containerID": 1001, "hostID": 0, "size": 10}],
    }  # fmt: skip
    script = "stat -c '%u %g' /mnt/file; touch /mnt/new"
    assert run(spec(script, mapped), rootfs) == (0, "0 0\n")
    new = os.stat(tmp_path / "new")
    assert (new.st_uid, new.st_gid) == (1000, 1001)


def test_ridmap_reaches_what_is_mounted_below(rootfs: Rootfs, tree: Any) -> None:
    maps = [{"containerID": 0, "hostID": 5, "size": 10}]
    mount = {"source": str(tree), "uidMappings": maps, "gidMappings": maps, "destination": "/mnt"}
    script = "stat -c %u /mnt /mnt/inner"
    assert run(spec(script, mount | {"options": ["rbind", "ridmap"]}), rootfs) == (0, "5\n5\n")
    assert run(spec(script, mount | {"options": ["rbind", "idmap"]}), rootfs) == (0, "5\n0\n")


def test_idmap_without_a_mapping(rootfs: Rootfs, tmp_path: Any) -> None:
    mount = {"destination": "/mnt", "source": str(tmp_path), "options": ["bind", "idmap"]}
    with pytest.raises(InvalidInput, match="there is no mapping for it"):
        run(spec("true", mount), rootfs)


def test_an_option_that_the_filesystem_does_not_know(rootfs: Rootfs) -> None:
    mount = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nonsense=1"]}
    with pytest.raises(EstivaError, match="/mnt.*nonsense=1"):
        run(spec("true", mount), rootfs)


@pytest.mark.parametrize(
    ("kind", "shown"), [("shared", "shared"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")]
)
def test_rootfs_propagation(kind: str, shown: str, rootfs: Rootfs) -> None:
    it = spec("grep ' / / ' /proc/self/mountinfo")
    it["linux"]["rootfsPropagation"] = kind
    _, text = run(it, rootfs)
    words = text.split()
    assert words[6].split(":")[0] == (shown or "-")


def test_devices(rootfs: Rootfs) -> None:
    it = spec("stat -c '%n %F %a %t:%T %u:%g' /dev/one /opt/two /dev/three")
    it["linux"]["devices"] = [
        {"path": "/dev/one", "type": "c", "major": 10, "minor": 666, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/opt/two", "type": "b", "major": 8, "minor": 1},
        {"path": "/dev/three", "type": "p", "fileMode": 0o600},
    ]
    _, text = run(it, rootfs)
    assert text.split("\n")[:3] == [
        "/dev/one character special file 640 a:29a 3:4",
        "/opt/two block special file 666 8:1 0:0",
        "/dev/three fifo 600 0:0 0:0",
    ]


def test_a_device_where_something_else_is(rootfs: Rootfs) -> None:
    it = spec("true")
    it["linux"]["devices"] = [{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]
    with pytest.raises(InvalidInput, match="/etc/passwd is there already"):
        run(it, rootfs)
