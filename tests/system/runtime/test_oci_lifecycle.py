"""estiva-oci as its callers use it: the operations of the runtime-spec, and runc's flags around them."""

import array
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess
import threading

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)
from enginekit import eventually
from estiva.runtime.cgroup.layout import layout

pytestmark = requires_kernel
LONG = ("sleep", "1000")


@pytest.fixture
def ours(box):  # noqa: F811
    with ocikit.runtime(box) as made:
        yield made


def command_line(pid):
    """Once it has one: execve takes the files away before it shows the arguments."""
    return eventually(lambda: pathlib.Path(f"/proc/{pid}/cmdline").read_text()).split("\0")


# --- the life of a container ------------------------------------------------------------------------------


def test_the_whole_life(ours):
    folder = ours.bundle(*LONG, annotations={"a": "b"})
    ours("create", "-b", folder, "--pid-file", f"{folder}/pid", "c")
    state = ours.state("c")
    assert state["ociVersion"] == "1.2.0"
    assert (state["id"], state["status"], state["bundle"]) == ("c", "created", folder)
    assert state["annotations"] == {"a": "b"}
    assert int(pathlib.Path(folder, "pid").read_text()) == state["pid"]
    assert "sleep" not in command_line(state["pid"])
    ours("start", "c")
    assert ours.state("c")["status"] == "running"
    assert command_line(state["pid"])[:2] == list(LONG)
    ours("kill", "c", "SIGKILL")
    ours.wait("c")
    assert ours.state("c")["pid"] == 0
    ours("delete", "c")
    assert "does not exist" in ours.fails("state", "c")
    assert os.listdir(f"{ours.folder}/run/oci") == []


def test_run_ends_as_the_command_does(ours):
    status, out, _ = ours.run("run", "-b", ours.bundle("sh", "-c", "echo out; exit 3"), "c")
    assert (status, out) == (3, "out\n")
    assert ours.run("run", "-b", ours.bundle("sh", "-c", "kill -9 $$"), "c")[0] in (0, 137)
    assert ours("list", "-q") == ""


def test_nothing_of_ours_runs_beside_a_container(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("create", "-b", ours.bundle(*LONG), "d")
    pids = {ours.state(id)["pid"] for id in "cd"}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = pathlib.Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if ours.folder.encode() in environment:
            assert int(name) in pids


def test_init_goes_to_the_callers_subreaper(ours):
    """As under conmon and containerd-shim: they reap it and tell the exit status."""
    script = """if True:
        import ctypes, os, subprocess, sys
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        program, folder = sys.argv[1:]
        subprocess.run([program, "create", "-b", folder, "--pid-file", folder + "/pid", "c"], check=True)
        subprocess.run([program, "start", "c"], check=True)
        pid = int(open(folder + "/pid").read())
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    folder = ours.bundle("sh", "-c", "exit 42")
    ran = subprocess.run(["python3", "-c", script, ocikit.PROGRAM, folder], env=ours.env, timeout=300)
    assert ran.returncode == 42
    assert ours.state("c")["status"] == "stopped"


def test_keep(ours):
    ours.run("run", "--keep", "-b", ours.bundle("true"), "c")
    assert ours.state("c")["status"] == "stopped"


def test_an_id_is_taken_once(ours):
    folder = ours.bundle(*LONG)
    ours("create", "-b", folder, "c")
    pid = ours.state("c")["pid"]
    assert "exists already" in ours.fails("create", "-b", folder, "c")
    assert ours.state("c")["pid"] == pid


def test_many_creates_of_one_id(ours):
    folder = ours.bundle(*LONG)
    racers = [ours.popen("create", "-b", folder, "c", stdout=None, stderr=None) for _ in range(4)]
    for racer in racers:
        racer.wait(timeout=300)
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1, 1]
    assert ours.state("c")["status"] == "created"


def test_many_starts(ours):
    root = ours.own_root()
    ours("create", "-b", ours.bundle("sh", "-c", "echo x >> /ran; sleep 100", rootfs=root), "c")
    racers = [ours.popen("start", "c") for _ in range(4)]
    for racer in racers:
        racer.communicate(timeout=300)
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1, 1]
    ran = pathlib.Path(root, "ran")
    assert eventually(lambda: ran.exists() and ran.read_text()) == "x\n"


@pytest.mark.parametrize(
    "verb", ["start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "events"]
)
def test_verbs_on_nothing(ours, verb):
    words = (verb, "nope", "true") if verb == "exec" else (verb, "nope")
    assert 'container "nope" does not exist' in ours.fails(*words)
    ours.fails(verb)


def test_delete_wants_it_stopped(ours):
    ours("create", "-b", ours.bundle(*LONG), "c")
    pid = ours.state("c")["pid"]
    assert "not stopped" in ours.fails("delete", "c")
    assert ours.state("c")["pid"] == pid
    ours("start", "c")
    assert "not stopped" in ours.fails("delete", "c")
    ours("delete", "--force", "c")
    assert ocikit.gone(pid)
    ours("delete", "--force", "c")  # of nothing: fine


def test_delete_takes_the_cgroup_and_who_is_in_it(ours):
    """Without a pid namespace others outlive init."""

    def change(config):
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]

    ours("run", "-d", "-b", ours.bundle("sh", "-c", "sleep 100 & sleep 100 & wait", change=change), "c")
    eventually(lambda: len(json.loads(ours("ps", "--format", "json", "c"))) == 3)
    pids = json.loads(ours("ps", "--format", "json", "c"))
    ours("kill", "c", "KILL")
    ours.wait("c")
    ours("delete", "c")
    assert all(map(ocikit.gone, pids))
    assert not list(pathlib.Path("/sys/fs/cgroup").glob(f"*{ours.parent}/c"))


def test_kill_by_name_number_and_all(ours):
    script = "trap 'echo usr1' USR1; trap 'echo two; exit 0' INT; echo up; while :; do sleep 0.05; done"
    with ours.popen("run", "-b", ours.bundle("sh", "-c", script), "c") as process:
        assert process.stdout.readline() == "up\n"
        ours("kill", "c", "usr1")
        assert process.stdout.readline() == "usr1\n"
        ours("kill", "c", "2")
        assert process.stdout.readline() == "two\n"
        assert process.wait(timeout=120) == 0
    assert "not running" in ours.fails("kill", _stopped(ours), "KILL")
    assert "invalid signal" in ours.fails("kill", "s", "NOPE")


def _stopped(ours):
    ours("run", "-d", "-b", ours.bundle("true"), "s")
    ours.wait("s")
    return "s"


def test_run_passes_signals_on(ours):
    script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"
    with ours.popen("run", "-b", ours.bundle("sh", "-c", script), "c") as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 9


def test_what_a_killed_create_left_can_be_deleted(ours):
    states = f"{ours.folder}/run/oci"
    os.makedirs(f"{states}/half", mode=0o700)
    assert ours("list", "-q") == ""
    ours("delete", "--force", "half")
    assert os.listdir(states) == []


def test_a_config_that_changes_after_create_changes_nothing(ours):
    folder = ours.bundle("sh", "-c", "echo first; sleep 100")
    with ours.popen("create", "-b", folder, "c") as process:
        process.wait(timeout=300)
        pathlib.Path(folder, "config.json").write_text("{}")
        ours("start", "c")
        assert process.stdout.readline() == "first\n"
        ours("exec", "c", "true")
        ours("delete", "-f", "c")


# --- errors -----------------------------------------------------------------------------------------------


def test_a_missing_command_is_create_s_error(ours):
    err = ours.fails("create", "-b", ours.bundle("nonexist"), "c")
    assert 'exec: "nonexist": executable file not found in $PATH' in err
    assert ours("list", "-q") == ""
    assert not list(pathlib.Path("/sys/fs/cgroup").glob(f"*{ours.parent}/c"))


def test_an_empty_word_is_a_command_that_is_nowhere(ours):
    """As for runc: docker and containerd make 127 of these words."""
    said = 'exec: "": executable file not found in $PATH'
    for verb in ("create", "run"):
        status, _, err = ours.run(verb, "-b", ours.bundle(""), "c")
        assert status == 1 and said in err
    assert ours("list", "-q") == ""
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    status, _, err = ours.run("exec", "c", "")
    assert status == 255 and said in err


def test_no_process_is_start_s_error(ours):
    ours("create", "-b", ours.bundle(change=lambda config: config.pop("process")), "c")
    assert "process is not set" in ours.fails("start", "c")
    ours.wait("c")
    ours("delete", "c")


def test_errors_go_to_the_log(ours):
    log = f"{ours.folder}/log"
    err = ours.fails("--log", log, "--log-format", "json", "state", "nope")
    line = json.loads(pathlib.Path(log).read_text())
    assert (line["level"], line["msg"]) == ("error", 'container "nope" does not exist')
    assert line["time"].endswith("Z")
    assert line["msg"] in err


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c.update(ociVersion="2.0.0"), "ociVersion"),
        (lambda c: c.pop("ociVersion"), "ociVersion"),
        (lambda c: c.pop("root"), "root.path"),
        (lambda c: c["process"].update(args=[]), "process.args"),
        (lambda c: c["process"].update(cwd="tmp"), "process.cwd"),
        (lambda c: c.update(hooks={"prestart": [{"path": "true"}]}), "hooks.prestart[0].path"),
        (lambda c: c.update(hooks={"poststop": [{"path": "/a", "timeout": 0}]}), "hooks.poststop[0].timeout"),
        (lambda c: c.update(annotations={"a": 1}), "annotations"),
    ],
)
def test_a_wrong_field_is_named(ours, change, field):
    assert field in ours.fails("create", "-b", ours.bundle(*LONG, change=change), "c")
    assert ours("list", "-q") == ""


def test_a_bundle_without_config(ours):
    assert "config.json" in ours.fails("create", "-b", ours.folder, "c")


@pytest.mark.parametrize("id", ["..", "a/b", "", "a b", "x" * 300])
def test_bad_ids(ours, id):
    assert "is not a container id" in ours.fails("create", "-b", ours.bundle(*LONG), id)


# --- what the caller hands over ---------------------------------------------------------------------------


def test_console_socket(ours):
    path = f"{ours.folder}/console"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        ours(
            "create",
            "-b",
            ours.bundle("sh", "-c", "tty; read x; echo got $x", terminal=True),
            "--console-socket",
            path,
            "c",
        )
        caller, _ = listening.accept()
        with caller:
            fds = array.array("i")
            _, ancillary, _, _ = caller.recvmsg(100, socket.CMSG_SPACE(4))
            fds.frombytes(ancillary[0][2])
    master = fds[0]
    try:
        ours("start", "c")
        os.write(master, b"word\n")
        text = b""
        while b"got word" not in text:
            text += os.read(master, 1000)
        assert b"/dev/pts/0" in text or b"/dev/console" in text
    finally:
        os.close(master)


def test_console_rules(ours):
    terminal, plain = ours.bundle(*LONG, terminal=True), ours.bundle(*LONG)
    assert "console socket" in ours.fails("create", "-b", terminal, "c")
    assert "console socket" in ours.fails("create", "-b", plain, "--console-socket", "/x", "c")
    assert "--console-socket" in ours.fails("create", "-b", terminal, "--console-socket", "/nope", "c")
    assert ours("list", "-q") == ""


def test_run_on_a_terminal(ours):
    master, slave = pty.openpty()
    folder = ours.bundle("sh", "-c", "stty size; read x; echo got $x; exit 4", terminal=True)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    with ours.popen("run", "-b", folder, "c", stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        alarm = threading.Timer(120, process.kill)
        alarm.start()
        try:
            text = os.read(master, 1000)
            while b"33 77" not in text:
                text += os.read(master, 1000)
            os.write(master, b"word\r")
            while b"got word" not in text:
                text += os.read(master, 1000)
            assert process.wait(timeout=120) == 4
        finally:
            alarm.cancel()
            process.kill()
    os.close(master)


def test_preserved_fds(ours):
    read, write = os.pipe()
    folder = ours.bundle("sh", "-c", "echo through >&3; ls /proc/self/fd")
    try:
        out = ours("run", "-b", folder, "--preserve-fds", "1", "c", fd3=write)
        assert os.read(read, 100) == b"through\n"
        assert out.split() == ["0", "1", "2", "3", "4"]  # 4: of ls itself
    finally:
        for fd in (read, write):
            os.close(fd)
    assert "is not open" in ours.fails("run", "-b", folder, "--preserve-fds", "20", "c")


def test_listen_fds(ours):
    with socket.socket(socket.AF_UNIX) as sock:
        folder = ours.bundle("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3")
        out = ours("run", "-b", folder, "c", env={"LISTEN_FDS": "1"}, fd3=sock.fileno())
    assert out.startswith("1 1\nsocket:")


def test_notify_socket(ours, tmp_path):
    """systemd hears that the container is ready, and init's pid as we know it."""
    path = f"{ours.folder}/notify"
    script = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    script += (
        "s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'STATUS=up\\nREADY=1'); import time; time.sleep(100)"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(120)
        folder = ours.bundle("/usr/bin/python3", "-c", script, rootfs="/")
        config = json.loads(pathlib.Path(folder, "config.json").read_text())
        config["root"]["readonly"] = False
        config["mounts"] = [m for m in config["mounts"] if m["destination"] in ("/proc", "/dev")]
        # no mount point may be made in the machine's own root
        os.makedirs(f"{ours.folder}/run-dir/notify")
        config["mounts"].append(
            {"destination": "/run", "type": "bind", "source": f"{ours.folder}/run-dir", "options": ["bind"]}
        )
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        ours("create", "-b", folder, "c", env={"NOTIFY_SOCKET": path})
        with ours.popen("start", "c", env={"NOTIFY_SOCKET": path}) as process:
            message = manager.recv(1000).decode()
            assert process.wait(timeout=120) == 0
    assert message.split() == ["READY=1", f"MAINPID={ours.state('c')['pid']}"]


# --- the verbs around it ----------------------------------------------------------------------------------


def test_exec(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG, env=["PATH=/bin", "A=1"]), "c")
    words = ("-u", "1000:1000", "-g", "4", "--additional-gids", "10", "-e", "B=2", "--cwd", "/tmp")
    out = ours("exec", *words, "c", "sh", "-c", "id; pwd; echo $A $B")
    assert out == "uid=1000(ada) gid=1000(ada) groups=4(adm),10(wheel)\n/tmp\n1 2\n"
    assert ours.run("exec", "c", "sh", "-c", "exit 5")[0] == 5
    status, _, err = ours.run("exec", "c", "nonexist")
    assert status == 255
    assert "executable file not found in $PATH" in err
    assert ours.run("exec", "c")[0] == 255


def test_exec_with_a_process_file(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    path = pathlib.Path(ours.folder, "process.json")
    caps = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    process = {
        "args": ["grep", "Cap", "/proc/self/status"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "capabilities": caps,
    }
    path.write_text(json.dumps(process))
    assert "CapEff:\t0000000000000020" in ours("exec", "--process", path, "c")
    path.write_text(json.dumps({"args": [], "cwd": "/"}))
    assert "process.args" in ours.fails("exec", "--process", path, "c")


def test_exec_flags_of_rights(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG, capabilities={}), "c")
    text = ours(
        "exec", "--cap", "CAP_KILL", "--no-new-privs", "c", "grep", "-E", "CapEff|NoNew", "/proc/self/status"
    )
    assert "CapEff:\t0000000000000020" in text
    assert "NoNewPrivs:\t1" in text


def test_exec_detached(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("exec", "-d", "--pid-file", f"{ours.folder}/pid", "c", "sleep", "99")
    pid = int(pathlib.Path(ours.folder, "pid").read_text())
    assert command_line(pid)[:2] == ["sleep", "99"]
    assert pid in json.loads(ours("ps", "-f", "json", "c"))
    assert "sleep 99" in ours("ps", "c")  # command_line has waited for it


def test_exec_in_a_cgroup_below(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    for words in (["sub"], ["pids:sub"]) if layout().version == "v1" else (["sub"],):
        assert "no such file or directory" in ours.fails("exec", "--cgroup", *words, "c", "true")
    assert "bad sub cgroup path" in ours.fails("exec", "--cgroup", "../x", "c", "true")
    assert "unknown controller" in ours.fails("exec", "--cgroup", "nosuch:/", "c", "true")
    assert ours("exec", "--cgroup", "/", "c", "echo", "in") == "in\n"


def test_pause_and_resume(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("pause", "c")
    assert ours.state("c")["status"] == "paused"
    assert "paused" in ours.fails("exec", "c", "true")
    assert "paused" in ours.fails("pause", "c")
    ours("resume", "c")
    assert ours.state("c")["status"] == "running"
    assert "not paused" in ours.fails("resume", "c")
    ours("pause", "c")
    ours("delete", "--force", "c")


def test_a_paused_container_dies_of_kill(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("pause", "c")
    ours("kill", "c", "KILL")
    ours.wait("c")


def test_update_and_events(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("update", "--memory", "64m", "--pids-limit", "50", "c")
    data = json.loads(ours("events", "--stats", "c"))
    assert (data["type"], data["id"]) == ("stats", "c")
    assert data["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert data["data"]["pids"] == {"current": 1, "limit": 50}
    path = pathlib.Path(ours.folder, "resources.json")
    path.write_text(json.dumps({"memory": {"limit": 128 << 20}}))
    ours("update", "-r", path, "c")
    assert json.loads(ours("events", "--stats", "c"))["data"]["memory"]["usage"]["limit"] == 128 << 20
    assert "cpu-quota" in ours.fails("update", "--cpu-quota", "many", "c")


def test_events_end_with_the_container(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    with ours.popen("events", "--interval", "100ms", "c") as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["type"] for line in lines] == ["stats", "stats"]
        ours("kill", "c", "KILL")
        assert process.wait(timeout=120) == 0


def test_list(ours):
    assert ours("list").split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    folder = ours.bundle(*LONG)
    ours("create", "-b", folder, "b")
    ours("run", "-d", "-b", folder, "a")
    assert ours("list", "-q") == "a\nb\n"
    told = json.loads(ours("list", "-f", "json"))
    assert [(one["id"], one["status"], one["bundle"]) for one in told] == [
        ("a", "running", folder),
        ("b", "created", folder),
    ]
    assert ours("list").splitlines()[2].split()[:3] == ["b", str(told[1]["pid"]), "created"]


def test_root_is_a_world_of_its_own(ours):
    ours("--root", f"{ours.folder}/other", "run", "-d", "-b", ours.bundle(*LONG), "c")
    assert ours("list", "-q") == ""
    ours("--root", f"{ours.folder}/other", "delete", "-f", "c")
    assert os.stat(f"{ours.folder}/other").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("rootless", [False, True])
def test_spec_makes_a_config_that_runs(ours, rootless):
    folder = pathlib.Path(ours.folder, "made")
    folder.mkdir()
    os.symlink(ours.box, folder / "rootfs")
    ours("spec", "-b", folder, *(["--rootless"] if rootless else []))
    assert "exists" in ours.fails("spec", "-b", folder)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["id", "-u"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert ours("run", "-b", folder, "c") == "0\n"


def test_features(ours):
    told = json.loads(ours("features"))
    assert told["ociVersionMax"] == "1.3.0"
    assert "startContainer" in told["hooks"]
    assert {"ro", "rro", "rbind", "idmap"} <= set(told["mountOptions"])
    linux = told["linux"]
    assert "user" in linux["namespaces"]
    assert linux["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert linux["netDevices"] == {"enabled": True}
    assert "MPOL_BIND" in linux["memoryPolicy"]["modes"]
    assert "MPOL_F_STATIC_NODES" in linux["memoryPolicy"]["flags"]


def test_keyring(ours):
    """A container does not keep its caller's session keyring, but for --no-new-keyring."""
    folder = ours.bundle("cat", "/proc/self/status", rootfs="/")
    assert ours.run("run", "--no-new-keyring", "--no-pivot", "-b", folder, "c")[0] == 0


def test_seccomp_of_the_bundle_holds_for_exec_too(ours):
    def change(config):
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        config["root"]["readonly"] = False

    ours("run", "-d", "-b", ours.bundle(*LONG, change=change), "c")
    assert "Cannot assign requested address" in ours.fails("exec", "c", "mkdir", "/dev/shm/x")


def test_concurrent_containers(ours):
    folder = ours.bundle("sh", "-c", "echo $$")
    results = []

    def one(index):
        results.append(ours.run("run", "-b", folder, f"c{index}"))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result[:2] for result in results] == [(0, "1\n")] * 6
