"""User namespaces in `run`, `create` and `exec`: whose ids a container's are, on files and in the kernel."""

import io
import json
import os
import pathlib
import pty
import signal
import subprocess
import tarfile
import threading

import pytest

from enginekit import IMAGE, eventually, host

POOL = range(0x70000000, 0x80000000)


@pytest.fixture(scope="module", params=["erofs", "dir"])
def box(request):
    with host(request.param) as made:
        yield made


def run(box, *words, **options):
    return box.out("run", "--rm", "--network", "none", *words, **options)


def inspect(box, container, what):
    return box.out("inspect", "--format", "{{" + what + "}}", container)


def first_ids(box, container):
    mapping = box.out("inspect", "--format", "{{json .HostConfig.IDMappings}}", container)
    found = json.loads(mapping)
    return [int(found[key][0].split(":")[1]) for key in ("UidMap", "GidMap")]


def test_auto_gives_root_an_id_that_nobody_has(box):
    script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /bin/busybox; sleep 600"
    container = box.out("run", "-d", "--network", "none", "--userns", "auto", IMAGE, "sh", "-c", script)
    eventually(lambda: box.out("logs", container).count("\n") == 3)
    lines = box.out("logs", container).splitlines()
    uid, gid = first_ids(box, container)
    assert uid in POOL and gid in POOL
    assert [line.split() for line in lines[1:3]] == [["0", str(uid), "65536"], ["0", str(gid), "65536"]]
    assert lines[0] == "0" and lines[3] == "0:0"
    status = os.stat(f"/proc/{inspect(box, container, '.State.Pid')}")
    assert (status.st_uid, status.st_gid) == (uid, gid)
    assert inspect(box, container, ".HostConfig.UsernsMode") == "auto"
    # exec joins: the same ids, its own pipes are its own
    script = "id -u; readlink /proc/self/ns/user; echo x > /dev/stdout; touch /by-exec"
    told = box.out("exec", container, "sh", "-c", script).splitlines()
    assert told == ["0", os.readlink(f"/proc/{inspect(box, container, '.State.Pid')}/ns/user"), "x"]
    assert box.out("exec", "-u", "user:extra", container, "id", "-u") == "1000"
    box.estiva("rm", "-f", container)


def test_ranges_do_not_overlap_and_are_free_again(box):
    made = []

    def create():
        made.append(box.out("create", "--userns", "auto:size=1000", IMAGE, "true"))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    starts = sorted(first_ids(box, container)[0] for container in made)
    assert len(starts) == 4 and all(
        after - before >= 1000 for before, after in zip(starts, starts[1:], strict=False)
    )
    box.estiva("rm", *made)
    again = box.out("create", "--userns", "auto:size=1000", IMAGE, "true")
    assert first_ids(box, again)[0] == starts[0]
    box.estiva("rm", again)


def test_the_read_write_layer_has_the_containers_ids(box):
    script = "touch /new; chown 1000:2000 /new; mkdir -p /d/e; chmod 4755 /new; echo x >> /etc/passwd; rm /etc/group"
    box.estiva("run", "--name", "writer", "--network", "none", "--userns", "auto", IMAGE, "sh", "-c", script)
    assert box.out("diff", "writer").splitlines() == [
        "A /d", "A /d/e", "C /etc", "D /etc/group", "C /etc/passwd", "A /new",
    ]  # fmt: skip
    upper = pathlib.Path(box.folder, "root/containers", inspect(box, "writer", ".Id"), "upper")
    assert (upper / "new").stat().st_uid == 1000 and (upper / "etc/passwd").stat().st_uid == 0
    with tarfile.open(fileobj=io.BytesIO(box.estiva("export", "writer", text=False).stdout)) as tar:
        assert (tar.getmember("new").uid, tar.getmember("new").gid) == (1000, 2000)
        assert tar.getmember("bin/busybox").uid == 0
    box.estiva("commit", "writer", "written:1")
    show = ("stat", "-c", "%u:%g:%a", "/new", "/d/e", "/etc/passwd")
    expected = ["1000:2000:4755", "0:0:755", "0:0:644"]
    assert run(box, "written:1", *show).splitlines() == expected
    assert run(box, "--userns", "auto", "written:1", *show).splitlines() == expected
    assert run(box, "--uidmap", "0:500000:3000", "written:1", *show).splitlines() == expected
    box.estiva("rm", "writer")


def test_setuid_files_of_layers_are_the_containers(box):
    name = box.out(
        "create",
        "--userns",
        "auto",
        IMAGE,
        "sh",
        "-c",
        "cp /bin/busybox /busybox; chown 1234 /busybox; chmod 4755 /busybox",
    )
    box.estiva("start", "-a", name)
    box.estiva("commit", name, "suid:1")
    box.estiva("rm", name)
    container = box.out(
        "run",
        "-d",
        "--network",
        "none",
        "--userns",
        "auto",
        "-u",
        "1000",
        "suid:1",
        "/busybox",
        "sleep",
        "600",
    )
    uid = first_ids(box, container)[0]
    pid = inspect(box, container, ".State.Pid")
    fields = [line.split() for line in open(f"/proc/{pid}/status") if line.startswith("Uid:")][0]
    assert (fields[1], fields[3]) == (str(uid + 1000), str(uid + 1234))  # busybox gives the effective one up
    box.estiva("rm", "-f", container)


@pytest.mark.parametrize(
    ("words", "uid_map"),
    [
        (["--uidmap", "0:300000:1000"], "0 300000 1000"),
        (["--uidmap", "0:300000:1000", "--gidmap", "0:400000:1000"], "0 300000 1000"),
        (["--userns", "keep-id"], None),
        (["--userns", "auto:uidmapping=0:7000:1"], "0 7000 1"),
        (["--userns", "private"], ""),
    ],
)
def test_maps(box, words, uid_map):
    out = run(
        box,
        *words,
        IMAGE,
        "sh",
        "-c",
        "cat /proc/self/uid_map; touch /f; stat -c %u /f; readlink /proc/self/ns/user",
    )
    lines = out.splitlines()
    assert lines[-2] == "0" and lines[-1] != os.readlink("/proc/self/ns/user")
    if uid_map is None:
        assert lines[0].split() == open("/proc/self/uid_map").read().split()
    elif uid_map:
        assert lines[0].split() == uid_map.split()


def test_devices(box):
    words = ("--device", "/dev/null:/x/null", "--device", "/dev/zero:/dev/other", "--device", "/dev/full")
    script = (
        "echo > /x/null && head -c 1 /dev/other | wc -c; test -c /dev/full && test -c /x/null && echo there"
    )
    assert run(box, "--userns", "auto", *words, IMAGE, "sh", "-c", script).split() == ["1", "there"]


def test_keep_id_names_the_user(box):
    assert run(box, "--userns", "keep-id:uid=1000,gid=2000", IMAGE, "id").startswith(
        "uid=1000(user) gid=2000(extra)"
    )
    assert run(box, "--userns", "keep-id:uid=1000", "-u", "5", IMAGE, "id", "-u") == "5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--userns", "nomap"], "--userns nomap is for containers of ordinary users"),
        (["--userns", "auto:sise=3"], "auto has no option sise"),
        (["--userns", "auto:size=0"], "size=0"),
        (["--userns", "auto:size=99999999999"], "is not an id or a size"),
        (["--uidmap", "0:1"], None),
        (["--uidmap", "1:100000:10"], "the container's root, id 0, is not mapped"),
        (["--uidmap", "0:100000:10", "--uidmap", "5:200000:10"], "the container id 5 is mapped twice"),
        (["--uidmap", "0:1:x"], "invalid --uidmap: 0:1:x"),
        (["--uidmap", "0:4294967290:100"], "goes out of the range"),
        (["--uidmap", "0:1:5", "--userns", "auto"], "can't be used with --uidmap"),
        (["--subuidname", "nobody-has-this-name"], "has no ranges for nobody-has-this-name"),
        (["--userns", "container:missing"], "no such container: missing"),
        (["--userns", "auto", "-u", "70000"], "not all of the ids 70000:0"),
        (["--userns", "auto", "--group-add", "70000"], "are in the container's user namespace"),
        (["--userns", "ns:relative"], "invalid --userns: ns:relative"),
        (["--userns", "ns:/etc/passwd"], "/etc/passwd is not a namespace"),
    ],
)
def test_what_can_not_be_is_told(box, words, message):
    done = box.estiva("run", "--rm", "--network", "none", *words, IMAGE, "true", status=None)
    if message is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 125 and message in done.stderr and done.stderr.count("\n") <= 2, done.stderr


def test_networks_and_kernel_filesystems(box):
    box.estiva("run", "--rm", IMAGE, "true")  # the bridge is there
    script = "ls /sys/class/net > /dev/null && cat /proc/net/dev; echo t > /dev/shm/t; test -d /dev/mqueue && wget -qO- http://127.0.0.1:1 2>&1; id -u"
    for network in ("none", "bridge", "host"):
        out = box.out("run", "--rm", "--network", network, "--userns", "auto", IMAGE, "sh", "-c", script)
        assert out.splitlines()[-1] == "0" and ("estiva0" in out) == (network == "host")


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroup"])
def test_with_the_hosts_other_namespaces(box, kind):
    option = "--cgroupns" if kind == "cgroup" else f"--{kind}"
    link = run(box, "--userns", "auto", option, "host", IMAGE, "readlink", f"/proc/self/ns/{kind}")
    assert link == os.readlink(f"/proc/self/ns/{kind}")


def test_published_ports_tty_init_and_read_only(box):
    words = ("-d", "-p", "127.0.0.1:18080:80", "--userns", "auto", "--init", "--read-only", "--tmpfs", "/run")
    serve = "touch /run/x; touch /x; while true; do echo hello | nc -l -p 80; done"
    container = box.out("run", *words, IMAGE, "sh", "-c", serve)
    ask = ["sh", "-c", "busybox nc -w 2 127.0.0.1 18080 < /dev/null"]

    def answer():
        return (
            "hello" in subprocess.run([*box.prefix, *ask], capture_output=True, text=True, timeout=300).stdout
        )

    eventually(answer)
    assert "Read-only" in eventually(lambda: box.estiva("logs", container).stderr)
    box.estiva("stop", "-t", "1", container)
    assert inspect(box, container, ".State.Running") == "false"
    box.estiva("rm", container)


def test_a_terminal(box):
    master, slave = pty.openpty()
    words = ("run", "--rm", "-it", "--network", "none", "--userns", "auto", IMAGE, "sh", "-c")
    child = box.start(*words, "tty; stat -c %u $(tty); echo end", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    told = b""
    try:
        while b"end" not in told:
            told += os.read(master, 4096)
    except OSError:
        pass  # EIO: nobody has the slave open any more
    assert child.wait(300) == 0 and told.split()[:3] == [b"/dev/pts/0", b"0", b"end"], told
    os.close(master)


def test_volumes_have_the_containers_ids_and_binds_the_hosts(box, tmp_path):
    write = ("sh", "-c", "touch /v/f; chown 1000 /v/f; stat -c %u /v/f")
    read = ("stat", "-c", "%u", "/v/f")
    assert run(box, "--userns", "auto", "-v", "shared:/v", IMAGE, *write) == "1000"
    assert run(box, "-v", "shared:/v", IMAGE, *read) == "1000"
    assert run(box, "--userns", "auto:size=5000", "-v", "shared:/v", IMAGE, *read) == "1000"
    assert run(box, "--userns", "auto", "-v", "/home", IMAGE, "stat", "-c", "%u", "/home") == "0"
    (tmp_path / "f").touch()
    tmp_path.chmod(0o755)
    where = f"{tmp_path}:/v"
    assert run(box, "--userns", "auto", "-v", where, IMAGE, *read) == "65534"
    assert run(box, "--userns", "auto", "-v", where + ":idmap", IMAGE, *read) == "0"
    mount = f"type=bind,src={tmp_path},dst=/v,idmap"
    assert run(box, "--userns", "auto", "--mount", mount, IMAGE, *write) == "1000"
    assert (tmp_path / "f").stat().st_uid == 1000
    assert run(box, "-v", where + ":idmap=uids=1000-77-1;gids=0-0-1", IMAGE, *read) == "77"
    box.estiva("volume", "rm", "shared")


def test_a_user_namespace_is_joined(box):
    lender = box.out(
        "run", "-d", "--network", "none", "--userns", "auto", "--ipc", "shareable", IMAGE, "sleep", "600"
    )
    other = f"container:{lender}"
    words = ("--userns", other, "--network", other, "--ipc", other, "--pid", other, "--uts", other)
    kinds = ("user", "net", "ipc", "pid", "uts")
    script = "touch /f; stat -c %u /f; echo x > /dev/stdout; for k in user net ipc pid uts; do readlink /proc/self/ns/$k; done"
    done = box.out("run", "--rm", *words, IMAGE, "sh", "-c", script).splitlines()
    pid = inspect(box, lender, ".State.Pid")
    assert done == ["0", "x", *[os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]]
    # the ids alone
    assert run(box, "--userns", other, IMAGE, "sh", "-c", "touch /f; stat -c %u /f") == "0"
    assert (
        run(
            box,
            "--userns",
            f"ns:/proc/{pid}/ns/user",
            IMAGE,
            "sh",
            "-c",
            "touch /f; stat -c %u /f; echo > /dev/stdout",
        )
        == "0"
    )
    # a pid namespace that belongs to another user namespace
    refused = box.estiva(
        "run", "--rm", "--userns", "auto", "--network", "none", "--pid", other, IMAGE, "true", status=125
    )
    assert "belongs to another user namespace" in refused.stderr
    box.estiva("rm", "-f", lender)


def test_privileged_is_privileged_in_its_namespace_only(box):
    script = (
        "mkdir /m; mount -t tmpfs x /m && echo mounted; mknod /m/d b 8 0 || echo none; cat /proc/1/uid_map"
    )
    out = run(box, "--privileged", "--userns", "auto", IMAGE, "sh", "-c", script)
    assert "mounted" in out and "none" in out and str(POOL.start)[:3] in out


def test_kill_and_crash_leave_nothing(box):
    container = box.out(
        "run", "-d", "--network", "none", "--userns", "auto", IMAGE, "sh", "-c", "sleep 601 & sleep 602"
    )
    box.estiva("kill", container)
    assert box.out("wait", container) == "137"
    box.estiva("start", container)
    box.kill_containers()
    assert box.out("wait", container) == "137"
    box.estiva("rm", container)


def test_a_killed_monitor_is_swept_with_or_without_its_row(box):
    for forgotten in (False, True):
        container = box.out("run", "-d", "--network", "none", "--userns", "auto", IMAGE, "sleep", "603")
        pid = int(inspect(box, container, ".State.Pid"))
        state = json.loads(pathlib.Path(box.folder, "run/containers", container, "state.json").read_text())
        if forgotten:
            box.db(f"DELETE FROM containers WHERE id = '{container}'")
        os.kill(state["monitor"], signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{state['monitor']}"))  # noqa: B023
        said = box.out("system", "check")
        assert container[:12] in said
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))  # noqa: B023
        box.estiva("rm", container, status=None)


def test_the_python_api(box):
    code = f"""
import estiva
print(estiva.run({IMAGE!r}, ["cat", "/proc/self/uid_map"], userns="auto", network="none").stdout.decode())
"""
    assert "65536" in box.python(code)


def test_files_of_the_python_api_are_the_containers_roots(box, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_text("a")
    code = f"""
import os, estiva
with estiva.container({IMAGE!r}, userns="auto", network="none") as box:
    box.put(b"hello", "/made/here/f")
    box.put({str(tmp_path / "tree")!r}, "/tree")
    print(box.exec(["stat", "-c", "%u", "/made", "/made/here/f", "/tree", "/tree/a"]).stdout.decode().split())
    box.exec(["sh", "-c", "echo back > /b"])
    print(box.get("/b"))
os.close(os.open("/proc/self/maps", os.O_RDONLY))
"""
    assert box.python(code).splitlines() == ["['0', '0', '0', '0']", "b'back\\n'"]
