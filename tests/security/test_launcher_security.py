"""K1, K3, K4, K5, K6, K7: what a hostile image, volume or neighbour tries on the launcher."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

import bundle
from bundle import Running, config, requires_kernel, run
from estiva.errors import CommandNotExecutable, EngineError, InvalidInput
from estiva.linux import fs, process
from estiva.runtime.launch.exec import execute
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel


def put(rootfs: Rootfs, path: str) -> str:
    """A path in the upper directory, with its parent made."""
    assert rootfs.upper is not None
    where = rootfs.upper + path
    os.makedirs(os.path.dirname(where), exist_ok=True)
    return where


# --- K1 ---


@pytest.mark.parametrize("link", ["{outside}", "../../../../../../../../../..{outside}"])
def test_mount_target_behind_a_symlink_stays_inside(rootfs: Rootfs, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mark").write_text("mark\n")
    os.symlink(link.format(outside=outside), put(rootfs, "/trap"))
    spec = config("cat", f"{outside}/sub/mark", "/trap/sub/mark")
    spec["mounts"].append(
        {"destination": "/trap/sub", "source": str(tmp_path / "data"), "options": ["rbind"]}
    )
    assert run(spec, rootfs) == (0, "mark\nmark\n")
    assert list(outside.iterdir()) == []


def test_file_target_and_cwd_behind_a_symlink_stay_inside(rootfs: Rootfs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "file").write_text("x\n")
    os.symlink(str(outside), put(rootfs, "/trap"))
    spec = config("pwd", cwd="/trap/made")
    spec["mounts"].append({"destination": "/trap/f", "source": str(tmp_path / "file"), "options": ["bind"]})
    assert run(spec, rootfs) == (0, f"{outside}/made\n")
    assert list(outside.iterdir()) == []


def test_cwd_through_a_magic_link_is_refused(rootfs: Rootfs) -> None:
    for path in ("/proc/self/fd/3", "/proc/1/root", "/proc/self/cwd"):
        with pytest.raises(EngineError):
            run(config("pwd", cwd=path), rootfs)


def test_mkdir_of_a_target_against_racing_swaps(tmp_path: Path) -> None:
    """A component that flips between a directory and a symlink out: nothing is ever made outside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    os.symlink(outside, root / "b")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            fs.rename_exchange(f"{root}/a", f"{root}/b")

    thread = threading.Thread(target=flip)
    thread.start()
    rootfd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for number in range(300):
            try:
                os.close(fs.mkdir_in_root(rootfd, f"/a/{number}/deep"))
                os.close(fs.create_in_root(rootfd, f"/a/{number}/file"))
            except OSError:
                pass  # losing the race is allowed, getting out is not
    finally:
        stop.set()
        thread.join()
        os.close(rootfd)
    assert list(outside.iterdir()) == []


# --- K3 ---


def test_no_fd_leaks(rootfs: Rootfs) -> None:
    script = "cd /proc/self/fd && echo *"
    leaks = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(5)]
    for fd in leaks:
        os.set_inheritable(fd, True)
    try:
        # The shell's own directory handle for the glob is the 3.
        assert run(config("sh", "-c", script), rootfs) == (0, "0 1 2 3\n")
        with Running(config("sh", "-c", "echo up; exec sleep 100"), rootfs) as it:
            it.read("up\n")
            assert sorted(os.listdir(f"/proc/{it.init.pid}/fd")) == ["0", "1", "2"]
            assert os.readlink(f"/proc/{it.init.pid}/cwd") == "/"
            out, into = os.pipe()
            init = execute(it.init.pid, config("sh", "-c", script)["process"], stdio=(-1, into, into))
            os.close(into)
            assert bundle.finish(init, out) == (0, "0 1 2 3\n")
    finally:
        for fd in leaks:
            os.close(fd)


# --- K4 ---


def test_the_child_is_not_dumpable_until_execve(rootfs: Rootfs) -> None:
    from estiva.runtime.launch import container

    init = container.create(config("true"), rootfs, id="x", stdio=(-1, -1, -1))
    try:
        init.ready()
        # A process that isn't dumpable has its /proc files owned by root and closed to its own user.
        seen = os.stat(f"/proc/{init.pid}/fd").st_mode, process.dumpable()
        assert seen[1] == 1  # we are again
        pid = os.fork()
        if pid == 0:
            process.capset(0, 0, 0)  # root's uid alone, as in a container without CAP_SYS_PTRACE
            try:
                os.readlink(f"/proc/{init.pid}/exe")
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        init.close()


@pytest.mark.parametrize(
    "kind",
    ["link", "shebang", "chain", "loader"],
    ids=["symlink", "script", "script of a script", "ELF loader"],
)
def test_proc_self_exe_is_not_executed(rootfs: Rootfs, kind: str) -> None:
    where = put(rootfs, "/evil")
    if kind == "link":
        os.symlink("/proc/self/exe", where)
    elif kind == "shebang":
        Path(where).write_text("#!/proc/self/exe\n")
    elif kind == "chain":
        Path(where).write_text("#! /evil2 x\n")
        Path(put(rootfs, "/evil2")).write_text("#!/proc/self/exe\n")
        os.chmod(where + "2", 0o755)
    else:
        data = Path("/usr/bin/python3").read_bytes()
        loader = b"/lib64/ld-linux-x86-64.so.2\0"
        if loader not in data:
            pytest.skip("written for x86_64")
        Path(where).write_bytes(data.replace(loader, b"/proc/self/exe\0".ljust(len(loader), b"\0"), 1))
    if kind != "link":
        os.chmod(where, 0o755)
    with pytest.raises(CommandNotExecutable, match="leads through a magic link"):
        run(config("/evil", "-c", "print(1)"), rootfs)


def test_pid_one_of_init_is_closed_to_the_container(rootfs: Rootfs) -> None:
    script = (
        "cat /proc/1/environ; ls -l /proc/1/exe /proc/1/fd; cat /proc/1/exe | wc -c; echo x > /proc/1/exe"
    )
    text = run(config("sh", "-c", script), rootfs, init=True)[1]
    assert "python" not in text
    assert text.count("Permission denied") >= 3 or text.count("denied") >= 3


# --- K5 ---


def test_masked_and_read_only_paths(rootfs: Rootfs) -> None:
    script = (
        "for f in /proc/keys /proc/timer_list /proc/interrupts; do stat -c '%n %t,%T' $f; cat $f; done; "
        "for d in /proc/acpi /sys/firmware; do ls -A $d; touch $d/x; done; "
        "echo 1 > /proc/sys/kernel/panic; echo h > /proc/sysrq-trigger; echo end"
    )
    text = run(config("sh", "-c", script), rootfs)[1]
    for name in ("keys", "timer_list", "interrupts"):
        if os.path.exists(f"/proc/{name}"):
            assert f"/proc/{name} 1,3\n" in text
    assert "/proc/sys/kernel/panic: Read-only file system" in text
    if os.path.exists("/proc/sysrq-trigger"):
        assert "/proc/sysrq-trigger: Read-only file system" in text
    if os.path.isdir("/sys/firmware"):
        assert "touch: /sys/firmware/x: Read-only file system" in text


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_kernel_filesystems_are_not_mounted_behind_a_symlink(rootfs: Rootfs, name: str) -> None:
    assert rootfs.upper is not None
    os.mknod(f"{rootfs.upper}/{name}", 0o20000, 0)  # a whiteout over the image's directory ...
    os.unlink(f"{rootfs.upper}/{name}")
    os.symlink("/tmp", f"{rootfs.upper}/{name}")  # ... and a symlink instead
    with pytest.raises(EngineError):
        run(config("true"), rootfs)


@pytest.mark.parametrize("place", ["/var/tmp", "/dev/shm"])
def test_a_fake_proc_is_not_taken_for_one(rootfs: Rootfs, place: str, request: pytest.FixtureRequest) -> None:
    """A volume at /proc, with the real procfs elsewhere: masks over the fake would guard nothing."""
    fake = tempfile.mkdtemp(prefix="estiva-test-", dir=place)
    request.addfinalizer(lambda: shutil.rmtree(fake))
    os.mkdir(f"{fake}/sys")
    Path(fake, "keys").write_text("")
    spec = config("true")
    spec["mounts"] = [
        {"destination": "/proc", "source": fake, "options": ["rbind"]},
        {"destination": "/real", "type": "proc", "source": "proc"},
    ]
    with pytest.raises(EngineError, match="it is not in a procfs"):
        run(spec, rootfs)


def test_devices_of_the_image_are_replaced(rootfs: Rootfs) -> None:
    """Without a tmpfs at /dev the image's own nodes lie there: a link, a file and another device."""
    os.symlink("/etc/passwd", put(rootfs, "/dev/null"))
    Path(put(rootfs, "/dev/zero")).write_text("")
    os.mknod(put(rootfs, "/dev/tty"), 0o20666, os.makedev(1, 3))
    spec = config("stat", "-c", "%n %t,%T", "/dev/null", "/dev/zero", "/dev/tty")
    spec["mounts"] = [m for m in spec["mounts"] if not m["destination"].startswith("/dev")]
    assert run(spec, rootfs) == (0, "/dev/null 1,3\n/dev/zero 1,5\n/dev/tty 5,0\n")


def test_a_terminal_needs_a_real_devpts(rootfs: Rootfs) -> None:
    Path(put(rootfs, "/dev/pts/ptmx")).write_text("")
    spec = config("true", terminal=True)
    spec["mounts"] = [m for m in spec["mounts"] if not m["destination"].startswith("/dev")]
    with pytest.raises(EngineError, match="it is not a devpts"):
        run(spec, rootfs)


# --- K6 ---


def capabilities(text: str) -> dict[str, int]:
    return {line[3:6]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}


def test_capability_sets(rootfs: Rootfs) -> None:
    read = ["grep", "Cap", "/proc/self/status"]
    root = capabilities(run(config(*read), rootfs)[1])
    assert root == {"Inh": 0, "Amb": 0, "Prm": 0xA80425FB, "Eff": 0xA80425FB, "Bnd": 0xA80425FB}
    user = capabilities(run(config(*read, user={"uid": 1000, "gid": 1000}), rootfs)[1])
    assert user == {"Inh": 0, "Amb": 0, "Prm": 0, "Eff": 0, "Bnd": 0xA80425FB}
    none = capabilities(run(config(*read, capabilities={}), rootfs)[1])
    assert set(none.values()) == {0}


@pytest.mark.parametrize(
    "bpf", [None, bytes.fromhex("0600000000 00ff7f".replace(" ", ""))], ids=["plain", "seccomp"]
)
def test_ambient_only_when_asked(rootfs: Rootfs, bpf: bytes | None) -> None:
    sets = {
        name: ["CAP_NET_RAW"] for name in ("bounding", "permitted", "inheritable", "ambient", "effective")
    }
    spec = config("grep", "-E", "Cap|Seccomp:", "/proc/self/status", user={"uid": 1000, "gid": 1000})
    spec["process"]["capabilities"] = sets
    text = run(spec, rootfs, bpf=bpf)[1]
    assert set(capabilities(text).values()) == {1 << 13}
    assert ("Seccomp:\t2" in text) == (bpf is not None)


def test_an_unknown_capability_gives_nothing(rootfs: Rootfs) -> None:
    spec = config("grep", "Cap", "/proc/self/status")
    known = run(spec, rootfs)
    for names in spec["process"]["capabilities"].values():
        names += ["CAP_UNKNOWN", "cap_sys_admin", "ALL"]
    assert run(spec, rootfs) == known


# --- K7 ---


def test_a_name_that_looks_like_a_number_is_a_number(rootfs: Rootfs) -> None:
    """The image's passwd has a user "1234" with uid 0."""
    status, text = run(config("id", "-u", user={"username": "1234"}), rootfs)
    assert (status, text) == (0, "1234\n")


@pytest.mark.parametrize(
    "spec", ["4294967295", "4294967296", "2147483648", "99999999999999999999", "0:4294967296"]
)
def test_ids_out_of_range(rootfs: Rootfs, spec: str) -> None:
    with pytest.raises(InvalidInput, match="out of the range of ids"):
        run(config("id", user={"username": spec}), rootfs)


@pytest.mark.parametrize("spec", ["-1", "+0", " 0", "0x0", "٠", "root\n", "0 "])
def test_odd_numbers_are_names_that_nobody_has(rootfs: Rootfs, spec: str) -> None:
    with pytest.raises(InvalidInput, match="there is no user"):
        run(config("id", user={"username": spec}), rootfs)


def test_numeric_form_is_bounded_too(rootfs: Rootfs) -> None:
    for bad in (
        {"uid": 1 << 32, "gid": 0},
        {"uid": -1, "gid": 0},
        {"uid": 0, "gid": 0xFFFFFFFF},
        {"uid": True},
    ):
        with pytest.raises(InvalidInput, match="out of the range of ids"):
            run(config("id", user=bad), rootfs)


def test_hostile_passwd_files(rootfs: Rootfs) -> None:
    os.mkfifo(put(rootfs, "/etc/passwd"))
    text = run(config("grep", "Uid", "/proc/self/status", user={"username": "7"}), rootfs)[1]
    assert text == "Uid:\t7\t7\t7\t7\n"
    os.unlink(put(rootfs, "/etc/passwd"))
    with open(put(rootfs, "/etc/passwd"), "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidInput, match="larger than 4 MiB"):
        run(config("id", user={"username": "x"}), rootfs)
    os.unlink(put(rootfs, "/etc/passwd"))
    Path(put(rootfs, "/etc/passwd")).write_bytes(
        b"eve:x:4294967296:0::/:\nbob:x:5:6::relative:\n\xff\xfe:x:0\n"
    )
    with pytest.raises(InvalidInput, match="no user 'eve'"):
        run(config("id", user={"username": "eve"}), rootfs)
    text = run(config("sh", "-c", "id -u; id -g; echo $HOME", user={"username": "bob"}), rootfs)[1]
    assert text == "5\n6\n/\n"


def test_the_hosts_users_are_not_asked(rootfs: Rootfs) -> None:
    with pytest.raises(InvalidInput):
        run(config("id", user={"username": "daemon"}), rootfs)


def test_supplementary_groups(rootfs: Rootfs) -> None:
    def groups(**user: object) -> str:
        return run(config("id", "-G", user=user), rootfs)[1].strip()

    assert groups(username="ada") == "1000 4"
    assert groups(username="ada:wheel") == "10"  # an explicit group brings no others
    assert groups(username="ada", additionalGroups=["wheel", "77"]) == "1000 4 10 77"
    assert groups(username="555") == "0"
    assert groups(uid=5, gid=6, additionalGids=[7, 8]) == "6 7 8"
    with pytest.raises(InvalidInput, match="no group 'nope'"):
        groups(username="ada:nope")
