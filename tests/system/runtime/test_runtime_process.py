"""process and the rest of linux: scheduling, capabilities, limits, labels, personality, seccomp listeners."""

from __future__ import annotations

import array
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import threading
from typing import Any

import pytest

from bundle import PATH, Running, config, finish, make_root, requires_kernel, run
from estiva.errors import EstivaError, InvalidInput, Unsupported
from estiva.runtime.launch import exec as runtime_exec
from estiva.runtime.launch import hooks
from estiva.runtime.process import labels
from estiva.runtime.rootfs.rootfs import Rootfs
from estiva.runtime.security import capabilities, seccomp

pytestmark = requires_kernel


def sh(script: str, **process: Any) -> dict[str, Any]:
    return config("sh", "-c", script, **process)


def stat_fields(text: str) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc_pid_stat(5))."""
    return text[text.rindex(")") + 2 :].split()


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice", "priority"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, 0, 7, 0),
        ({"policy": "SCHED_BATCH", "nice": 3}, 3, 3, 0),
        ({"policy": "SCHED_IDLE"}, 5, os.nice(0), 0),
        ({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, 3, 0, 0),
    ],
)
def test_scheduler(scheduler: Any, policy: int, nice: int, priority: int, rootfs: Rootfs) -> None:
    _, text = run(config("cat", "/proc/self/stat", scheduler=scheduler), rootfs)
    fields = stat_fields(text)
    assert (int(fields[41 - 3]), int(fields[19 - 3]), int(fields[40 - 3])) == (policy, nice, priority)


def test_a_scheduler_that_the_kernel_refuses_is_named(rootfs: Rootfs) -> None:
    wrong = {"policy": "SCHED_DEADLINE", "runtime": 100, "deadline": 10, "period": 5}
    with pytest.raises(EstivaError, match="set scheduling: sched_setattr SCHED_DEADLINE"):
        run(config("true", scheduler=wrong), rootfs)
    with pytest.raises(InvalidInput, match="process.scheduler.priority can only be set with SCHED_FIFO"):
        run(config("true", scheduler={"policy": "SCHED_OTHER", "priority": 5}), rootfs)


def test_io_priority(rootfs: Rootfs) -> None:
    with Running(config("sleep", "60", ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}), rootfs) as it:
        text = subprocess.run(["ionice", "-p", str(it.init.pid)], capture_output=True, text=True).stdout
    assert text.strip() == "best-effort: prio 6"


def execute(it: Running, *args: str, **process: Any) -> str:
    out, into = os.pipe()
    what = {"args": list(args), "env": [PATH], "cwd": "/"} | process
    init = runtime_exec.execute(it.init.pid, what, stdio=(-1, into, into))
    os.close(into)
    return finish(init, out)[1].strip()


def test_cpu_affinity_is_for_exec_only(rootfs: Rootfs) -> None:
    mine = sorted(os.sched_getaffinity(0))
    cpu = str(mine[-1])
    spec = config("sleep", "60", execCPUAffinity={"initial": cpu, "final": cpu})
    with Running(spec, rootfs) as it:
        assert sorted(os.sched_getaffinity(it.init.pid)) == mine
        command = ("grep", "Cpus_allowed_list", "/proc/self/status")
        assert execute(it, *command, execCPUAffinity={"final": cpu}).split() == ["Cpus_allowed_list:", cpu]
        assert execute(it, *command, execCPUAffinity={"initial": cpu}).split()[-1] == cpu
        with pytest.raises(EstivaError, match="place the process.*cpus .60000."):
            execute(it, *command, execCPUAffinity={"initial": "60000"})


def test_memory_policy(rootfs: Rootfs) -> None:
    spec = sh("cat /proc/self/numa_maps | head -1")
    spec["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    if os.path.exists("/proc/self/numa_maps"):
        assert "bind=static:0" in run(spec, rootfs)[1]
    spec["linux"]["memoryPolicy"]["nodes"] = "1000"
    with pytest.raises(EstivaError, match="set_mempolicy"):
        run(spec, rootfs)


def test_personality(rootfs: Rootfs) -> None:
    spec = config("uname", "-m")
    spec["linux"]["personality"] = {"domain": "LINUX32"}
    if os.uname().machine == "x86_64":
        assert run(spec, rootfs) == (0, "i686\n")


def test_the_five_sets(rootfs: Rootfs) -> None:
    sets = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    user = {"uid": 1000, "gid": 1000}
    _, text = run(config("grep", "^Cap", "/proc/self/status", capabilities=sets, user=user), rootfs)
    shown = {line.split()[0]: int(line.split()[1], 16) for line in text.strip().split("\n")}
    kill, chown, raw = 1 << 5, 1 << 0, 1 << 13
    # After execve another user has what is ambient.
    assert shown == {
        "CapInh:": kill, "CapPrm:": kill, "CapEff:": kill, "CapBnd:": kill | chown | raw, "CapAmb:": kill,
    }  # fmt: skip


def test_the_bounding_set_holds_in_a_user_namespace(tmp_path: Any) -> None:
    """There a process has all capabilities, also those that its maker lacks."""
    os.chmod(tmp_path, 0o755)
    spec = config("grep", "CapBnd", "/proc/self/status")
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"] |= {
        name: [{"containerID": 0, "hostID": 100000, "size": 1000}] for name in ("uidMappings", "gidMappings")
    }
    wanted = sum(
        1 << capabilities.ALL_CAPABILITIES[name] for name in spec["process"]["capabilities"]["bounding"]
    )
    _, text = run(spec, Rootfs(path=make_root(str(tmp_path / "root"))))
    assert int(text.split()[1], 16) == wanted


def test_rlimits_and_oom_score(rootfs: Rootfs) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    _, text = run(
        sh("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj", rlimits=limits, oomScoreAdj=500),
        rootfs,
    )
    assert text.split() == ["100", "200", "0", "500"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_domainname(rootfs: Rootfs) -> None:
    spec = config("cat", "/proc/sys/kernel/domainname")
    spec["domainname"] = "example.test"
    assert run(spec, rootfs) == (0, "example.test\n")


@pytest.mark.parametrize("key", ["kernel.panic", "vm.swappiness", "fs.file-max"])
def test_a_sysctl_of_the_machine_is_refused(key: str, rootfs: Rootfs) -> None:
    spec = config("true")
    spec["linux"]["sysctl"] = {key: "1"}
    with pytest.raises(InvalidInput, match=f"the sysctl {key} is the machine's"):
        run(spec, rootfs)


@pytest.mark.skipif(labels.apparmor(), reason="this kernel has AppArmor")
def test_a_profile_where_there_is_no_apparmor(rootfs: Rootfs) -> None:
    with pytest.raises(Unsupported, match="process.apparmorProfile: mine can't be applied"):
        run(config("true", apparmorProfile="mine"), rootfs)
    assert run(config("true", apparmorProfile="unconfined"), rootfs)[0] == 0


@pytest.mark.skipif(labels.selinux(), reason="SELinux is enabled")
def test_a_label_where_there_is_no_selinux(rootfs: Rootfs) -> None:
    with pytest.raises(Unsupported, match="process.selinuxLabel: a:b:c can't be applied"):
        run(config("true", selinuxLabel="a:b:c"), rootfs)
    spec = config("true")
    spec["linux"]["mountLabel"] = "system_u:object_r:svirt_sandbox_file_t:s0"  # nothing that it could mean
    assert run(spec, rootfs)[0] == 0


# --- seccomp ---

_NOTIF, _RESP, _RECV, _SEND = 80, 24, 0xC0502100, 0xC0182101
_EXDEV = 18


class Agent:
    """Answers one container: takes its fd, then gives every call that comes `answer` (a negative errno)."""

    def __init__(self, path: str, answer: int) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(1)
        self.server.settimeout(120)
        self.answer = answer
        self.calls = 0
        self.message: dict[str, Any] = {}
        self.closed = False
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.server.accept()
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
        fds = array.array("i")
        fds.frombytes(ancillary[0][2][:4])
        while chunk := connection.recv(65536):
            data += chunk
        self.closed = True
        self.message = json.loads(data)
        connection.close()
        try:
            while True:
                notification = bytearray(_NOTIF)
                fcntl.ioctl(fds[0], _RECV, notification)
                self.calls += 1
                (number,) = struct.unpack_from("Q", notification)
                fcntl.ioctl(fds[0], _SEND, bytearray(struct.pack("QqiI", number, 0, self.answer, 0)))
        except OSError:
            pass  # ENOENT: nobody is left who could call
        os.close(fds[0])

    def end(self) -> None:
        self.thread.join(120)
        self.server.close()
        assert not self.thread.is_alive()


def listened(path: Any, *calls: str) -> dict[str, Any]:
    spec = sh("mkdir /tmp/x; echo $?; echo end")
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"] if os.uname().machine == "x86_64" else [],
        "syscalls": [{"names": list(calls), "action": "SCMP_ACT_NOTIFY"}],
        "listenerPath": str(path),
        "listenerMetadata": "for the agent",
    }
    return spec


@pytest.mark.parametrize("kept", [False, True])
def test_a_seccomp_listener(kept: bool, rootfs: Rootfs, tmp_path: Any) -> None:
    agent = Agent(str(tmp_path / "sock"), -_EXDEV)
    spec = listened(tmp_path / "sock", "mkdir", "mkdirat")
    spec["process"]["noNewPrivileges"] = kept
    if kept:
        spec["linux"]["seccomp"]["flags"] = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]
        spec["linux"]["seccomp"]["flags"].append("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    state = {"ociVersion": "1.2.0", "id": "test", "bundle": "/b", "annotations": {"a": "b"}}
    bpf = seccomp.profile_filter(spec["linux"]["seccomp"], (), str(tmp_path / "cache"))
    _, text = run(spec, rootfs, bpf=bpf, hooks=hooks.Hooks(None, state))
    agent.end()
    assert "Invalid cross-device link" in text and text.endswith("1\nend\n")
    assert agent.calls == 1 and agent.closed
    pid = agent.message.pop("pid")
    assert pid > 1
    assert agent.message == {
        "ociVersion": "1.2.0", "fds": ["seccompFd"], "metadata": "for the agent",
        "state": state | {"pid": pid, "status": "created"},
    }  # fmt: skip


def test_a_listener_may_even_ask_for_execve(rootfs: Rootfs, tmp_path: Any) -> None:
    agent = Agent(str(tmp_path / "sock"), -13)
    spec = listened(tmp_path / "sock", "execve")
    bpf = seccomp.profile_filter(spec["linux"]["seccomp"], (), str(tmp_path / "cache"))
    with pytest.raises(EstivaError, match="permission denied"):
        run(spec, rootfs, bpf=bpf)
    agent.end()
    assert agent.calls == 1


def test_nobody_listens(rootfs: Rootfs, tmp_path: Any) -> None:
    spec = listened(tmp_path / "sock", "mkdir")
    bpf = seccomp.profile_filter(spec["linux"]["seccomp"], (), str(tmp_path / "cache"))
    with pytest.raises(InvalidInput, match="linux.seccomp.listenerPath: .*/sock is not there"):
        run(spec, rootfs, bpf=bpf)
    (tmp_path / "sock").touch()
    with pytest.raises(EstivaError, match="linux.seccomp.listenerPath: .*/sock: connection refused"):
        run(spec, rootfs, bpf=bpf)
