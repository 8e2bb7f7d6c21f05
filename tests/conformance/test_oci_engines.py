"""podman and docker run their containers on estiva-oci: what people do with them works as on runc."""

import json
import os
import pathlib
import pty
import resource
import select
import shutil
import subprocess
import time

import pytest

import bundle
import ocikit
from bundle import box  # noqa: F401  (a fixture)

ENGINES = ("podman", "docker")
LOOP = ("sh", "-c", "trap 'echo bye; exit 6' TERM; echo up; while :; do sleep 0.1; done")

pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(
        not all(map(shutil.which, ("unshare", "nsenter", "ip"))), reason="needs util-linux, iproute2"
    ),
]


def podman(machine):
    folder = machine.folder
    # podman 4 asks for these at 1048576 of its own accord, which may be more than we can give
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    most = {"nofile": 1 << 20, "nproc": 32768}  # podman 4.9 has lowered its own to pid_max
    hard = {name: min(resource.getrlimit(which)[1] % 2**64, most[name]) for name, which in limits.items()}
    words = ", ".join(f'"{name}={limit}:{limit}"' for name, limit in hard.items())
    pathlib.Path(folder, "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{words}]\n")
    machine.env["CONTAINERS_CONF"] = f"{folder}/containers.conf"
    return ocikit.Engine(
        machine,
        *("podman", f"--root={folder}/root", f"--runroot={folder}/run", f"--tmpdir={folder}/tmp"),
        *(
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            f"--runtime={ocikit.PEER}",
        ),
    )


def docker(machine):
    folder = machine.folder
    config = {
        "runtimes": {"peer": {"path": ocikit.PEER}},
        "default-runtime": "peer",
        "data-root": f"{folder}/root",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/pid",
        "hosts": [f"unix://{folder}/sock"],
    }
    pathlib.Path(folder, "daemon.json").write_text(json.dumps(config))
    machine.daemon("dockerd", "--config-file", f"{folder}/daemon.json")
    engine = ocikit.Engine(machine, "docker", "-H", f"unix://{folder}/sock")
    machine.until(*engine.command, "version")
    return engine


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, box):  # noqa: F811
    name = request.param
    if shutil.which(name) is None or (name == "docker" and shutil.which("dockerd") is None):
        pytest.skip(f"{name} is not installed")
    os.chmod(box, 0o755)
    machine = ocikit.Machine(f"oci-{name}-")
    machine.name = name
    try:
        made = {"podman": podman, "docker": docker}[name](machine)
        made.name = name
        tar = f"{machine.folder}/box.tar"
        subprocess.run(["tar", "-C", box, "-cf", tar, "."], check=True)
        made("import", tar, "box")
        yield made
        made.run("rm", "-f", *made("ps", "-aq").split())
    finally:
        machine.close()


@pytest.fixture(autouse=True)
def tidy(engine):
    yield
    engine.run("rm", "-f", "one", "first")


def test_it_is_us(engine):
    shown = engine("info")
    assert os.path.basename(ocikit.PEER) in shown or "peer" in shown


def test_run(engine):
    assert engine("run", "--rm", "box", "echo", "hello") == "hello\n"
    assert engine.run("run", "--rm", "box", "sh", "-c", "exit 7")[0] == 7
    assert engine.run("run", "--rm", "box", "sh", "-c", "kill -9 $$")[0] in (0, 137)
    assert engine("run", "--rm", "-i", "box", "cat", input="typed") == "typed"


def test_a_missing_command(engine):
    status, _, err = engine.run("run", "--rm", "box", "nonexist")
    assert status == 127
    assert "executable file not found in $PATH" in err
    assert engine.run("run", "--rm", "box", "/etc/passwd")[0] == 126


def test_options(engine):
    words = ("--network=none", "-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "-u", "1000", "-w", "/tmp")
    script = "id -u; pwd; hostname; echo $A; ulimit -n; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true"
    more = ("-h", "name", "-e", "A=b", "--ulimit", "nofile=99:99")
    out = engine("run", "--rm", *words, *more, "box", "sh", "-c", script)
    assert out.split() == ["1000", "/tmp", "name", "b", "99", "20"]
    caps = engine(
        "run", "--rm", "--cap-drop=ALL", "--cap-add=KILL", "box", "grep", "CapEff", "/proc/self/status"
    )
    assert caps.split() == ["CapEff:", "0000000000000020"]
    assert engine.run("run", "--rm", "--read-only", "box", "touch", "/x")[0] == 1
    assert "256" in engine(
        "run", "--rm", "--sysctl", "net.core.somaxconn=256", "box", "cat", "/proc/sys/net/core/somaxconn"
    )


def test_volumes(engine, tmp_path):
    (tmp_path / "file").write_text("text")
    assert engine("run", "--rm", "-v", f"{tmp_path}:/data:ro", "box", "cat", "/data/file") == "text"
    assert engine.run("run", "--rm", "-v", f"{tmp_path}:/data:ro", "box", "touch", "/data/x")[0] == 1
    assert engine("run", "--rm", "--tmpfs", "/t:size=64k", "box", "sh", "-c", "touch /t/x; ls /t") == "x\n"
    engine("run", "--rm", "-v", "named:/v", "box", "touch", "/v/kept")
    assert engine("run", "--rm", "-v", "named:/v", "box", "ls", "/v") == "kept\n"


def test_network(engine):
    script = "ls /sys/class/net"
    assert engine("run", "--rm", "box", "sh", "-c", script).split() == ["eth0", "lo"]
    assert engine("run", "--rm", "--network=none", "box", "sh", "-c", script).split() == ["lo"]
    engine("run", "-d", "--name", "first", "box", "sleep", "1000")
    mine = engine("exec", "first", "readlink", "/proc/self/ns/net")
    assert engine("run", "--rm", "--network=container:first", "box", "readlink", "/proc/self/ns/net") == mine
    engine("rm", "-f", "first")


def test_privileged(engine):
    assert "full" in engine("run", "--rm", "--privileged", "box", "ls", "/dev").split()


def read_until(master, wanted, seen=b""):
    """What a terminal shows up to `wanted`, and a little more."""
    deadline = time.monotonic() + 300
    while wanted not in seen:
        if select.select([master], [], [], 1)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:  # EIO: nobody has it open any more
                break
        assert time.monotonic() < deadline, seen
    assert wanted in seen
    return seen


def test_terminal(engine):
    """The command waits to be read: podman may lose the output of one that ends before, with crun too."""
    script = "tty; read word; echo got $word; exit 5"
    words = engine.machine.words(*engine.command, "run", "--rm", "-it", "box", "sh", "-c", script)
    master, slave = pty.openpty()
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    process = subprocess.Popen(words, **streams, start_new_session=True, env=engine.machine.env)
    os.close(slave)
    try:
        seen = read_until(master, b"/dev/pts/0")
        os.write(master, b"this\n")
        read_until(master, b"got this", seen)
        assert process.wait(timeout=300) == 5
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_exec(engine):
    engine("run", "-d", "--name", "one", "box", "sleep", "1000")
    assert engine("exec", "one", "id", "-u") == "0\n"
    assert (
        engine("exec", "-u", "1000", "-e", "A=b", "-w", "/tmp", "one", "sh", "-c", "id -u; echo $A; pwd")
        == "1000\nb\n/tmp\n"
    )
    assert engine.run("exec", "one", "sh", "-c", "exit 5")[0] == 5
    assert engine("exec", "-i", "one", "cat", input="typed") == "typed"
    status, out, err = engine.run("exec", "one", "nonexist")
    assert status in (126, 127)  # docker has changed its mind on this
    assert "executable file not found in $PATH" in out + err
    engine("exec", "-d", "one", "touch", "/tmp/detached")
    for _ in range(1200):
        if engine("exec", "one", "ls", "/tmp") == "detached\n":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the detached command did not run")
    engine("rm", "-f", "one")


def test_stop_start_kill(engine):
    engine("run", "-d", "--name", "one", "box", *LOOP)
    while "up" not in engine("logs", "one"):
        time.sleep(0.1)
    engine("stop", "-t", "120", "one")
    assert engine("inspect", "-f", "{{.State.ExitCode}}", "one") == "6\n"
    assert engine("logs", "one").split() == ["up", "bye"]
    engine("start", "one")
    assert engine.status("one") == "running"
    engine("restart", "-t", "120", "one")
    assert engine.status("one") == "running"
    engine("kill", "one")
    engine("wait", "one")
    assert engine("inspect", "-f", "{{.State.ExitCode}}", "one") == "137\n"
    engine("rm", "one")


def test_pause(engine):
    engine("run", "-d", "--name", "one", "box", *LOOP)
    while "up" not in engine("logs", "one"):
        time.sleep(0.1)
    engine("pause", "one")
    assert engine.status("one") == "paused"
    engine("unpause", "one")
    assert engine.status("one") == "running"
    assert "sh -c" in engine("top", "one")  # its sleeps come and go
    engine("rm", "-f", "one")


def test_update(engine):
    engine("run", "-d", "--name", "one", "-m", "64m", "box", "sleep", "1000")
    engine("update", "-m", "96m", "--memory-swap", "96m", "one")
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"
    assert engine("exec", "one", "sh", "-c", script) == f"{96 << 20}\n"
    engine("rm", "-f", "one")


def test_out_of_memory(engine):
    engine("run", "--name", "one", "-m", "16m", "--memory-swap", "16m", "box", "true")
    engine("rm", "one")
    status, _, _ = engine.run(
        "run",
        "--name",
        "one",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "box",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
    )
    assert status == 137
    engine("rm", "one")


def test_nothing_is_left(engine):
    engine("run", "--rm", "box", "true")
    states = [
        *pathlib.Path("/run/estiva-oci").glob("*"),
        *pathlib.Path(engine.machine.folder).glob("exec/runtime-*/moby/*"),
    ]
    known = engine("ps", "-aq", "--no-trunc").split()
    assert not [state for state in states if state.name in known]
