"""What callers of runc rely on beyond the runtime-spec: estiva-oci in its place."""

import array
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)
from enginekit import eventually
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.layout import layout

pytestmark = requires_kernel
LONG = ("sleep", "1000")
V1 = layout().version == "v1"


@pytest.fixture
def ours(box):  # noqa: F811
    with ocikit.runtime(box) as made:
        yield made


def shared(config):
    """No pid namespace of its own."""
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "pid"]


def group_of(ours, id):
    return factory.open(
        json.loads(pathlib.Path(ours.folder, "run/oci", id, "state.json").read_text())["cgroup"]
    )


def test_output_of_a_terminal_has_plain_newlines(ours):
    """Nobody's terminal is there to return the carriage: what reads the output wants lines."""
    assert ours("run", "-b", ours.bundle("echo", "one", terminal=True), "c") == "one\n"
    ours("run", "-d", "-b", ours.bundle(*LONG), "d")
    assert ours("exec", "-t", "d", "echo", "two") == "two\n"


def test_the_end_of_input_reaches_who_reads_a_terminal(ours):
    """A terminal has no end of file, but for the character that stands for it."""
    folder = ours.bundle("cat", terminal=True)
    process = ours.popen("run", "-b", folder, "c", stdin=subprocess.PIPE)
    out, err = process.communicate("line\n", timeout=240)
    assert process.returncode == 0, err
    assert "line" in out


@pytest.mark.skipif(not shutil.which("script"), reason="needs script(1)")
def test_an_end_of_file_before_the_terminal_is_raw_is_one(ours):
    """script(1) without input types it at once: for a while it stayed a NUL byte, and cat waited for ever."""
    folder = ours.bundle("sh", "-c", "echo up; cat", terminal=True)
    for index in range(5):
        words = ["script", "-qec", f"{ocikit.PROGRAM} run -b {folder} c{index}", "/dev/null"]
        options = {"env": ours.env, "stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 300}
        assert b"up" in subprocess.run(words, check=True, **options).stdout


def test_list_has_runc_s_order(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    told = json.loads(ours("list", "-f", "json"))[0]
    assert list(told)[:6] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs"]


def test_kill_ends_all_without_a_pid_namespace(ours):
    folder = ours.bundle(*LONG, change=shared)
    ours("run", "-d", "-b", folder, "c")
    ours("exec", "-d", "c", *LONG)
    pids = json.loads(ours("ps", "-f", "json", "c"))
    assert len(pids) == 2
    os.kill(ours.state("c")["pid"], signal.SIGKILL)
    ours.wait("c")
    ours("kill", "c", "KILL")  # init is gone, and the other is not
    assert eventually(lambda: all(ocikit.gone(pid) for pid in pids))
    assert "not running" in ours.fails("kill", "c", "KILL")


def test_signal_0_only_asks(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    ours("kill", "c", "0")
    assert ours.state("c")["status"] == "running"
    ours("kill", "c", "KILL")
    ours.wait("c")
    assert "container not running" in ours.fails("kill", "c", "0")


def test_a_created_container_dies_of_term(ours):
    ours("create", "-b", ours.bundle(*LONG), "c")
    ours("kill", "c", "TERM")
    ours.wait("c")


def test_pidfd_socket(ours):
    path = f"{ours.folder}/pidfd.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(2)
    got = []

    def receive():
        for _ in range(2):
            with server.accept()[0] as caller:
                name, ancillary, _, _ = caller.recvmsg(100, socket.CMSG_SPACE(4))
                got.append((name, array.array("i", ancillary[0][2])[0]))

    thread = threading.Thread(target=receive)
    thread.start()
    ours("run", "-d", "--pidfd-socket", path, "-b", ours.bundle(*LONG), "c")
    ours("exec", "-d", "--pidfd-socket", path, "c", *LONG)
    thread.join(timeout=120)
    server.close()
    assert [name for name, _ in got] == [b"standard", b"setns"]
    try:
        text = pathlib.Path(f"/proc/self/fdinfo/{got[0][1]}").read_text()
        assert f"Pid:\t{ours.state('c')['pid']}\n" in text
        signal.pidfd_send_signal(got[0][1], signal.SIGKILL)
    finally:
        for _, fd in got:
            os.close(fd)
    ours.wait("c")
    assert "no such file" in ours.fails(
        "run", "--pidfd-socket", "/nonexistent", "-b", ours.bundle("true"), "d"
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_a_caller_s_taskset_is_not_the_container_s(ours):
    look = ("grep", "Cpus_allowed_list", "/proc/self/status")
    options = {"env": ours.env, "text": True, "stdout": subprocess.PIPE, "timeout": 240, "check": True}
    every = ["taskset", "-c", "0-1023"]  # all that the cpuset has, however many we may use ourselves
    here = subprocess.run([*every, *look], **options).stdout.strip()
    one = ["taskset", "-c", "0", ocikit.PROGRAM]
    folder = ours.bundle(*look)
    assert subprocess.run([*one, "run", "-b", folder, "c"], **options).stdout.strip() == here
    ours("run", "-d", "-b", ours.bundle(*LONG), "d")
    assert subprocess.run([*one, "exec", "d", *look], **options).stdout.strip() == here


def test_exec_has_the_container_s_umask_and_else_the_caller_s(ours):
    def with_umask(config):
        config["process"]["user"] = {"uid": 0, "gid": 0, "umask": 0o027}

    ours("run", "-d", "-b", ours.bundle(*LONG, change=with_umask), "c")
    assert ours("exec", "c", "sh", "-c", "umask").strip() == "0027"
    ours("run", "-d", "-b", ours.bundle(*LONG), "d")
    command = f"umask 0077; exec {ocikit.PROGRAM} exec d sh -c umask"
    done = subprocess.run(["sh", "-c", command], env=ours.env, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "0077", done.stderr


def test_exec_has_the_personality(ours):
    def change(config):
        config["linux"]["personality"] = {"domain": "LINUX32"}

    ours("run", "-d", "-b", ours.bundle(*LONG, change=change), "c")
    assert ours("exec", "c", "uname", "-m").strip() in ("i686", "armv8l", "ppc", os.uname().machine + "32")


def test_an_empty_home_is_none(ours):
    folder = ours.bundle("sh", "-c", "echo $HOME", env=["HOME=", "PATH=/bin"])
    assert ours("run", "-b", folder, "c").strip() in ("/", "/root")


@pytest.mark.skipif(not V1, reason="needs cgroup v1")
def test_exec_in_other_cgroups_for_some_controllers(ours):
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    group = group_of(ours, "c")
    for controller in ("pids", "cpu"):
        os.makedirs(f"{group.places.where[controller]}{group.path}/sub", exist_ok=True)
    words = ("--cgroup", "pids,cpu:sub")
    ours("exec", "-d", "--pid-file", f"{ours.folder}/pid", *words, "c", *LONG)
    pid = pathlib.Path(ours.folder, "pid").read_text()
    places = dict(
        line.split(":", 2)[1:] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    )
    for controllers, place in places.items():
        inner = {"pids", "cpu"} & set(controllers.split(","))
        assert place == group.path + ("/sub" if inner else ""), (controllers, place)
    assert "given more than once" in ours.fails(
        "exec", "--cgroup", "pids:a", "--cgroup", "pids:b", "c", "true"
    )
    assert "names no controller" in ours.fails("exec", "--cgroup", "a", "--cgroup", "b", "c", "true")


@pytest.mark.skipif(V1, reason="needs cgroup v2")
def test_exec_follows_init_where_the_container_has_distributed_controllers(ours):
    """As systemd in a container does."""
    ours("run", "-d", "-b", ours.bundle(*LONG), "c")
    group = group_of(ours, "c").directories[0]
    os.mkdir(f"{group}/inner")
    pathlib.Path(f"{group}/inner/cgroup.procs").write_text(str(ours.state("c")["pid"]))
    pathlib.Path(f"{group}/cgroup.subtree_control").write_text("+memory")
    assert ours("exec", "c", "cat", "/proc/self/cgroup").strip().endswith("/inner")
    assert ours("exec", "--cgroup", "inner", "c", "cat", "/proc/self/cgroup").strip().endswith("/inner")
    assert ours.fails("exec", "--cgroup", "/", "c", "true")


def test_a_cgroup_of_dots_stays_below_the_root(ours):
    def change(config):
        config["linux"]["cgroupsPath"] = f"/../x/../..{ours.parent}/up/../dots"

    ours("run", "-d", "-b", ours.bundle(*LONG, change=change), "c")
    assert group_of(ours, "c").path == f"{ours.parent}/dots"


def test_a_cgroup_that_is_frozen_or_in_use_is_refused(ours):
    path = f"{ours.parent}/frozen"
    folder = ours.bundle(*LONG, change=lambda config: config["linux"].update(cgroupsPath=path))
    group = factory.create(path)
    try:
        group.freeze()
        assert "container's cgroup unexpectedly frozen" in ours.fails("run", "-d", "-b", folder, "c")
        assert group.exists()
        group.thaw()
        ours("run", "-d", "-b", folder, "c")
        assert "container's cgroup is not empty" in ours.fails("run", "-d", "-b", folder, "d")
        ours("delete", "-f", "c")
    finally:
        group.thaw()
        group.remove()


def test_time_offsets_with_a_user_namespace(ours):
    def change(config):
        linux = config["linux"]
        linux["namespaces"] += [{"type": "user"}, {"type": "time"}]
        linux["timeOffsets"] = {"boottime": {"secs": 100000}}
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    folder = ours.bundle("cat", "/proc/self/timens_offsets", change=change)
    assert "100000" in ours("run", "-b", folder, "c")


def test_dev_may_be_read_only(ours):
    def change(config):
        next(entry for entry in config["mounts"] if entry["destination"] == "/dev")["options"].append("ro")

    script = "echo x > /dev/null && echo written; touch /dev/x"
    _, out, err = ours.run("run", "-b", ours.bundle("sh", "-c", script, change=change), "c")
    assert out == "written\n" and "Read-only" in err


def test_a_tmpfs_keeps_the_mode_of_what_it_hides(ours):
    root = ours.own_root()
    os.mkdir(f"{root}/data")
    os.chmod(f"{root}/data", 0o710)

    def change(config):
        for name, options in (("/data", []), ("/new", []), ("/given", ["mode=700"])):
            entry = {"destination": name, "type": "tmpfs", "source": "tmpfs", "options": options}
            config["mounts"].append(entry)

    folder = ours.bundle("stat", "-c", "%a", "/data", "/new", "/given", rootfs=root, change=change)
    assert ours("run", "-b", folder, "c").split() == ["710", "1777", "700"]


def test_what_is_made_inherits_the_group_and_sources_may_be_inside(ours):
    root = ours.own_root()
    os.mkdir(f"{root}/shared")
    os.chmod(f"{root}/shared", 0o2775)

    def change(config):
        config["root"]["path"] = os.path.realpath(root)
        inner = os.path.realpath(root) + "/shared/a/b"
        config["mounts"] += [
            {"destination": "/shared/a/b", "type": "tmpfs", "source": "tmpfs", "options": ["mode=705"]},
            {"destination": "/again", "type": "bind", "source": inner, "options": ["bind"]},
        ]

    folder = ours.bundle("stat", "-c", "%a", "/again", rootfs=root, change=change)
    assert ours("run", "-b", folder, "c").split() == ["705"]
    assert os.stat(f"{root}/shared/a").st_mode & 0o7777 == 0o2755


def test_a_masked_path_given_twice_is_masked_once(ours):
    root = ours.own_root()
    os.mkdir(f"{root}/secret")

    def change(config):
        config["linux"]["maskedPaths"] = ["/secret", "/secret"]

    out = ours(
        "run", "-b", ours.bundle("grep", "-c", " /secret ", "/proc/mounts", rootfs=root, change=change), "c"
    )
    assert out.strip() == "1"


def test_ambient_capabilities_let_a_user_execute(ours):
    root = ours.own_root()
    os.chmod(f"{root}/bin/busybox", 0o744)

    def change(config):
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    folder = ours.bundle("true", rootfs=root, change=change, capabilities={})
    assert "not found" in ours.fails("run", "-b", folder, "c")
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    capabilities = {kind: ["CAP_DAC_OVERRIDE"] for kind in kinds}
    ours("run", "-b", ours.bundle("true", rootfs=root, change=change, capabilities=capabilities), "c")


def test_a_start_container_hook_has_the_command_s_environment_and_filter(ours):
    root = ours.own_root()
    script = "test $FOO = bar && echo $HOME > /told; mkdir /made"
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}

    def change(config):
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        config["process"]["env"] += ["FOO=bar", "HOME=/h"]

    folder = ours.bundle("true", hooks=hooks, rootfs=root, change=change)
    assert "Cannot assign requested address" in ours.fails("run", "-b", folder, "c")
    assert pathlib.Path(root, "told").read_text() == "/h\n"


def test_a_create_container_hook_is_in_the_root(ours):
    root = ours.own_root()
    hooks = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "touch ./here; pwd > ./told"]}]}
    ours("run", "-b", ours.bundle("true", hooks=hooks, rootfs=root), "c")
    assert os.path.exists(f"{root}/here")
    assert pathlib.Path(root, "told").read_text().strip() == os.path.realpath(root)


def test_network_devices_come_along(ours):
    """In a network namespace of the test's own: two veth ends go, with the address that one of them has."""
    script = """
        set -e
        ip link set lo up
        ip link add here type veth peer name one
        ip link add there type veth peer name two
        ip address add 192.0.2.7/24 dev one
        ip address add 2001:db8::7/64 dev one nodad
        ip link set one mtu 1300
        exec "$@"
    """

    def devices(value):
        return lambda config: config["linux"].update(netDevices=value)

    def run(folder):
        words = ["unshare", "-n", "sh", "-c", script, "sh", ocikit.PROGRAM, "run", "-b", folder, "c"]
        return subprocess.run(words, env=ours.env, capture_output=True, text=True, timeout=240)

    look = "cat /sys/class/net/net0/mtu /sys/class/net/net0/flags /proc/net/fib_trie /proc/net/if_inet6; ls /sys/class/net"
    folder = ours.bundle("sh", "-c", look, change=devices({"one": {"name": "net0"}, "two": {}}))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[0] == "1300" and int(lines[1], 16) & 1
    assert "192.0.2.7" in lines and "20010db8000000000000000000000007" in lines
    assert {"net0", "two"} <= set(lines)
    assert "there is no interface three" in run(ours.bundle("true", change=devices({"three": {}}))).stderr
    taken = run(ours.bundle("true", change=devices({"one": {"name": "lo"}})))
    assert "has an interface lo already" in taken.stderr
    done = run(ours.bundle("ls", "/sys/class/net", change=devices({"one": {"name": "if%d"}})))
    assert "if0" in done.stdout.split(), done.stderr


def test_no_pivot_vouches_for_no_unmasked_proc(ours):
    """The host's procfs, whole and still in the mount namespace, must not let the container mount another."""

    def change(config):
        # an applet of busybox unshares; it is asked for by its own name
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind] += ["CAP_SETFCAP"]
        config["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/timer_list", "/proc/keys"]

    script = "busybox unshare -Urmpf sh -c 'mount -t proc none /proc && echo mounted'; echo then; ls /proc/1 | wc -l"
    folder = ours.bundle("sh", "-c", script, change=change)
    _, out, err = ours.run("run", "--no-pivot", "-b", folder, "c")
    assert "then" in out and "mounted" not in out
    assert "ermitted" in err or "ermission denied" in err
    assert os.path.ismount("/proc")  # ours


def test_errors_for_programs_are_one_line(ours):
    assert len(ours.fails("run", "-b", ours.bundle("/no/such"), "c").splitlines()) == 1


def test_events_tell_of_memory_at_once(ours):
    """The interval is far longer than anybody waits for the line."""
    share = f"{ours.folder}/share"
    os.mkdir(share)

    def change(config):
        config["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
        entry = {"destination": "/tmp", "type": "bind", "source": share, "options": ["bind"]}
        config["mounts"].append(entry)

    script = "while [ ! -e /tmp/go ]; do sleep 0.1; done; tail /dev/zero; sleep 1000"
    folder = ours.bundle("sh", "-c", script, change=change)
    ours("run", "-d", "-b", folder, "c")
    process = ours.popen("events", "--interval", "3h", "c")
    try:
        assert json.loads(process.stdout.readline())["type"] == "stats"
        pathlib.Path(share, "go").touch()
        assert json.loads(process.stdout.readline()) == {"type": "oom", "id": "c"}
        ours("delete", "-f", "c")
        process.wait(timeout=120)
    finally:
        process.kill()
        process.communicate()
