"""`estiva-oci checkpoint` and `restore` with the real criu; skipped where it is missing or can't work."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

import criukit
import ocikit
from bundle import box  # noqa: F401  (a fixture)
from criukit import IDLE, LOOP, checkpoint, go, restore
from estiva.runtime.lifecycle import checkpoint as checkpointing
from estiva.runtime.lifecycle import criu_rpc
from estiva.runtime.lifecycle import restore as restoring


@pytest.fixture
def runtime(box):  # noqa: F811
    with criukit.runtime(box) as made:
        yield made


def read_until(fd, text, seconds=120):
    """What comes out of an fd up to and with `text`."""
    os.set_blocking(fd, False)
    found = ""
    deadline = time.monotonic() + seconds
    while text not in found:
        assert time.monotonic() < deadline, found
        try:
            found += os.read(fd, 4096).decode()
        except (BlockingIOError, OSError):
            time.sleep(0.02)
    return found


def test_a_container_goes_on_where_it_was(runtime):
    def change(config):
        config["linux"]["resources"] = {"pids": {"limit": 77}}

    folder = runtime.bundle(
        "sh", "-c", f"x=kept; {LOOP} | while read n; do echo $x $n >/dev/shm/n; done", change=change
    )
    go(runtime, "run", "-d", "-b", folder, "web")
    first = runtime.state("web")
    while not (text := runtime.run("exec", "web", "cat", "/dev/shm/n")[1]).startswith("kept "):
        assert runtime.state("web")["status"] == "running"
    checkpoint(runtime, "web")
    assert runtime.run("state", "web")[0] == 1
    assert ocikit.gone(first["pid"])
    for _ in range(2):  # images may be used again
        restore(runtime, "web", folder, "--pid-file", f"{runtime.folder}/pid")
        state = runtime.state("web")
        assert state["status"] == "running" and state["bundle"] == folder
        assert pathlib.Path(runtime.folder, "pid").read_text() == str(state["pid"])
        before = int(text.split()[1])
        again = runtime("exec", "web", "cat", "/dev/shm/n")
        assert again.startswith("kept ") and int(again.split()[1]) >= before
        deadline = time.monotonic() + 120
        while int(runtime("exec", "web", "cat", "/dev/shm/n").split()[1]) <= int(again.split()[1]) + 1:
            assert time.monotonic() < deadline
        assert f"{runtime.parent}/web" in pathlib.Path(f"/proc/{state['pid']}/cgroup").read_text()
        assert runtime("exec", "web", "cat", "/sys/class/net/lo/operstate").strip() != "down"
        top = pathlib.Path("/sys/fs/cgroup")
        limit = [p for where in ("*/", "") for p in top.glob(f"{where}{runtime.parent[1:]}/web/pids.max")]
        assert [p.read_text().strip() for p in limit] == ["77"]
        runtime("delete", "-f", "web")
    assert runtime.folder not in pathlib.Path("/proc/self/mountinfo").read_text()


def test_files_of_the_host_as_stdio(runtime):
    folder = runtime.bundle("sh", "-c", f"{LOOP}")
    one = f"{runtime.folder}/one"
    with open(one, "w") as file:
        go(runtime, "run", "-d", "-b", folder, "web", stdout=file, stderr=file)
    checkpoint(runtime, "web")
    size = os.path.getsize(one)
    with open(one, "a") as file:
        restore(runtime, "web", folder, stdout=file, stderr=file)
    deadline = time.monotonic() + 120
    while os.path.getsize(one) <= size:
        assert time.monotonic() < deadline


def test_pipes_are_those_of_the_restorer(runtime):
    folder = runtime.bundle("sh", "-c", "while read x; do echo pong $x; done")
    (inside, into), (out, outside) = os.pipe(), os.pipe()
    go(runtime, "run", "-d", "-b", folder, "web", stdin=inside, stdout=outside, stderr=outside)
    os.write(into, b"one\n")
    read_until(out, "pong one")
    checkpoint(runtime, "web")
    names = json.loads(pathlib.Path(runtime.images, "descriptors.json").read_text())
    assert [name.partition("[")[0] for name in names] == ["pipe:", "pipe:", "pipe:"]
    for fd in (inside, into, out, outside):
        os.close(fd)
    (inside, into), (out, outside) = os.pipe(), os.pipe()
    restore(runtime, "web", folder, stdin=inside, stdout=outside, stderr=outside)
    os.write(into, b"two\n")
    read_until(out, "pong two\n")
    os.close(into)
    os.close(inside)
    runtime.wait("web")
    os.close(out)
    os.close(outside)


def test_leave_running_and_a_paused_one(runtime):
    folder = runtime.bundle(*IDLE)
    go(runtime, "run", "-d", "-b", folder, "web")
    pid = runtime.state("web")["pid"]
    checkpoint(runtime, "web", "--leave-running")
    assert runtime.state("web") | {"status": "running", "pid": pid} == runtime.state("web")
    runtime("pause", "web")
    checkpoint(runtime, "web")
    restore(runtime, "other", folder)
    assert runtime.state("other")["status"] == "running"


def test_in_the_foreground_the_exit_status_is_the_commands(runtime):
    folder = runtime.bundle("sh", "-c", "while [ ! -e /dev/shm/go ]; do sleep 0.05; done; exit 7")
    go(runtime, "run", "-d", "-b", folder, "web")
    checkpoint(runtime, "web")
    words = ("restore", "-b", folder, "--image-path", runtime.images, "web")
    process = runtime.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while runtime.run("exec", "web", "touch", "/dev/shm/go")[0]:
        assert time.monotonic() < deadline and process.poll() is None
    assert process.wait(timeout=300) == 7
    assert runtime.run("state", "web")[0] == 1


def test_a_terminal(runtime):
    folder = runtime.bundle("sh", "-c", "while read x; do echo pong $x; done", terminal=True)
    path = f"{runtime.folder}/console"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(2)
        listener.settimeout(120)

        def master():
            with listener.accept()[0] as connection:
                return socket.recv_fds(connection, 64, 1)[1][0]

        go(runtime, "run", "-d", "-b", folder, "--console-socket", path, "web")
        fd = master()
        os.write(fd, b"one\n")
        read_until(fd, "pong one")
        checkpoint(runtime, "web")
        os.close(fd)
        restore(runtime, "web", folder, "--console-socket", path)
        fd = master()
        os.write(fd, b"two\n")
        read_until(fd, "pong two")
        os.close(fd)


def test_binds_below_binds_with_what_they_are_mounted_on(runtime):
    one, two = (tempfile.mkdtemp(dir=runtime.folder) for _ in range(2))
    pathlib.Path(two, "file").write_text("here")
    root = runtime.own_root()
    os.symlink("/real", f"{root}/link")

    def change(config):
        config["mounts"] += [
            {"destination": "/one", "type": "bind", "source": one, "options": ["rbind"]},
            {"destination": "/one/for/two", "type": "bind", "source": two, "options": ["bind", "ro"]},
            {"destination": "/link", "type": "bind", "source": two, "options": ["bind"]},
            {"destination": "/etc/hosts", "type": "bind", "source": f"{two}/file", "options": ["bind"]},
        ]

    folder = runtime.bundle(*IDLE, rootfs=root, change=change)
    go(runtime, "run", "-d", "-b", folder, "web")
    checkpoint(runtime, "web")
    shutil.rmtree(f"{one}/for")
    os.rmdir(f"{root}/real")
    restore(runtime, "web", folder)
    files = ("/one/for/two/file", "/link/file", "/etc/hosts")
    assert runtime("exec", "web", "cat", *files) == "here" * 3
    assert runtime.run("exec", "web", "touch", "/one/for/two/x")[0]
    assert not [
        line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if root in line
    ]


def test_a_network_namespace_from_outside(runtime):
    holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        deadline = time.monotonic() + 120
        while os.readlink(path) == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline

        def change(config):
            for entry in config["linux"]["namespaces"]:
                if entry["type"] == "network":
                    entry["path"] = path

        folder = runtime.bundle(*IDLE, change=change)
        go(runtime, "run", "-d", "-b", folder, "web")
        checkpoint(runtime, "web")
        restore(runtime, "web", folder)
        assert os.readlink(f"/proc/{runtime.state('web')['pid']}/ns/net") == os.readlink(path)
    finally:
        holder.kill()
        holder.wait()


def test_pre_dump(runtime):
    folder = runtime.bundle(*IDLE)
    go(runtime, "run", "-d", "-b", folder, "web")
    parent = f"{runtime.folder}/parent"
    status, _, err = runtime.run("checkpoint", "--pre-dump", "--image-path", parent, "web")
    assert runtime.state("web")["status"] == "running"
    if status:
        assert "--pre-dump (memory tracking)" in err
        pytest.skip("the kernel has no soft-dirty tracking")
    checkpoint(runtime, "web", "--parent-path", "../parent")
    assert os.path.exists(f"{runtime.images}/parent")
    restore(runtime, "web", folder)


def test_hooks_see_the_restored_init(runtime):
    said = f"{runtime.folder}/said"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {said}; echo >> {said}"]}
    folder = runtime.bundle(*IDLE, hooks={"createRuntime": [hook]})
    go(runtime, "run", "-d", "-b", folder, "web")
    checkpoint(runtime, "web")
    restore(runtime, "web", folder)
    states = [json.loads(line) for line in pathlib.Path(said).read_text().splitlines()]
    assert len(states) == 2 and states[1]["pid"] == runtime.state("web")["pid"]
    runtime("delete", "-f", "web")
    hook["args"][2] = "echo no >&2; exit 3"
    config = json.loads(pathlib.Path(folder, "config.json").read_text())
    config["hooks"]["createRuntime"] = [hook]
    pathlib.Path(folder, "config.json").write_text(json.dumps(config))
    words = ("restore", "-d", "-b", folder, "--image-path", runtime.images, "web")
    assert "error running createRuntime hook #0: /bin/sh ended with status 3: no" in runtime.fails(*words)
    assert runtime.run("state", "web")[0] == 1


def test_errors_are_whole_and_leave_things_as_they_were(runtime):
    folder = runtime.bundle(*IDLE)
    go(runtime, "create", "-b", folder, "web")
    assert "cannot be checkpointed in created state" in runtime.fails("checkpoint", "web", cwd=runtime.folder)
    runtime("start", "web")
    parent = ("checkpoint", "--image-path", runtime.images, "web", "--parent-path")
    assert "--parent-path must be relative" in runtime.fails(*parent, "/tmp")
    assert "invalid --parent-path" in runtime.fails(*parent, "missing")
    assert "--manage-cgroups-mode" in runtime.fails(*parent[:4], "--manage-cgroups-mode", "some")
    assert "--page-server" in runtime.fails(*parent[:4], "--page-server", "here")
    # a socket that leads out is what criu refuses unless told otherwise
    assert runtime.state("web")["status"] == "running"
    status, _, err = runtime.run("restore", "-d", "-b", folder, "--image-path", f"{runtime.folder}/no", "new")
    assert status == 1 and "no such file or directory" in err and runtime.run("state", "new")[0] == 1


def test_what_criu_refuses_is_told_in_its_words(runtime):
    folder = runtime.bundle(*IDLE)
    main, other = pty.openpty()
    try:
        go(runtime, "run", "-d", "-b", folder, "web", stdin=other, stdout=other, stderr=other)
        err = runtime.fails("checkpoint", "--image-path", runtime.images, "web")
        assert "criu can't dump container web: " in err and "dump.log" in err and "/dev/pts" in err
        assert runtime.state("web")["status"] == "running"
    finally:
        os.close(main)
        os.close(other)


# --- without criu ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("busybox") is None, reason="needs root and busybox")
def test_without_criu(box):  # noqa: F811
    with ocikit.runtime(box) as runtime:
        folder = runtime.bundle(*IDLE)
        go(runtime, "run", "-d", "-b", folder, "web")
        for words in (("checkpoint", "web"), ("restore", "-b", folder, "new")):
            hide = 'for f in /usr/sbin/criu /usr/bin/criu /usr/local/*bin/criu; do [ ! -e "$f" ] || mount --bind /dev/null "$f"; done; exec "$@"'
            command = ["unshare", "-m", "sh", "-c", hide, "sh", ocikit.PROGRAM, *words]
            done = subprocess.run(
                command, env=runtime.env, cwd=runtime.folder, capture_output=True, text=True
            )
            assert done.returncode == 1 and "criu is not installed" in done.stderr
        assert runtime.state("web")["status"] == "running"


def images(folder, descriptors='["a","b","c"]', external=None):
    pathlib.Path(folder, checkpointing.DESCRIPTORS).write_text(descriptors)
    if external is not None:
        pathlib.Path(folder, checkpointing.EXTERNAL).write_text(external)
    restored = object.__new__(restoring.Restore)
    restored.how = checkpointing.Options()
    restored.how.images = str(folder)
    restored.images = os.open(folder, os.O_RDONLY)
    restored.extra = []
    return restored


@contextlib.contextmanager
def closing(restoring):
    try:
        yield restoring
    finally:
        for fd in (restoring.images, *restoring.extra):
            os.close(fd)


def test_only_pipes_and_files_that_were_stdio_are_given(tmp_path):
    external = (
        '{"files":{"file[1f:2a]":1,"file[1f:2b]":7,"extRootNetNS":0},"null":["file[3:4]","pipe:[1]",5]}'
    )
    with closing(images(tmp_path, '["/dev/null","pipe:[12]","pipe:[x]","pipe:[9]"]', external)) as restoring:
        given = [criu_rpc.decode(value) for _, value in restoring._descriptors()]
        assert [(message[1][0], message[2][0]) for message in given] == [
            (b"pipe:[12]", 1),
            (b"file[1f:2a]", 1),
            (b"file[3:4]", criu_rpc.EXTRA),
        ]


@pytest.mark.parametrize(
    "text, words",
    [("{}", "damaged"), ("[", "json"), ('["x"]' + " " * 70000, "larger"), ("[" * 3000, "json")],
)
def test_hostile_descriptors_are_refused(tmp_path, text, words):
    with closing(images(tmp_path, text)) as restoring, pytest.raises(Exception, match=words):
        restoring._descriptors()


def test_a_link_among_the_images_is_not_followed(tmp_path):
    with closing(images(tmp_path)) as restoring:
        os.unlink(tmp_path / checkpointing.DESCRIPTORS)
        os.symlink("/etc/passwd", tmp_path / checkpointing.DESCRIPTORS)
        with pytest.raises(Exception, match="can't be read"):
            restoring._descriptors()
        os.unlink(tmp_path / checkpointing.DESCRIPTORS)
        os.mkfifo(tmp_path / checkpointing.DESCRIPTORS)
        with pytest.raises(Exception, match="not a file"):
            restoring._descriptors()


def test_protocol_buffers():
    message = criu_rpc.encode([(1, 300), (2, "text"), (3, -1), (2, b"more"), (50, True)])
    assert message == b"\x08\xac\x02\x12\x04text\x18" + b"\xff" * 9 + b"\x01\x12\x04more\x90\x03\x01"
    found = criu_rpc.decode(message)
    assert (
        found[2] == [b"text", b"more"] and criu_rpc.number(found, 3) == -1 and criu_rpc.number(found, 9) == 0
    )
    for broken in (b"\x08", b"\x12\x05abc", b"\x0b", b"\x08" + b"\xff" * 11):
        with pytest.raises(criu_rpc.EngineError):
            criu_rpc.decode(broken)
