"""--profile untrusted: what docs/sandbox.md says of a container that runs hostile code, each line tried."""

import errno
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import rawelf
from enginekit import IMAGE, eventually, host

UNTRUSTED = ("--profile", "untrusted")
NEWUSER, I386_GETPID = 0x10000000, 20
TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423
EPERM, ENOSYS, NO_FAMILY = -errno.EPERM, -errno.ENOSYS, -errno.EAFNOSUPPORT

# what is tried -> system call of x86_64 with its arguments, what the kernel says
CALLS = {
    "init_module": ((175, 0, 0, 0), EPERM),
    "finit_module": ((313, 0, 0, 0), EPERM),
    "delete_module": ((176, b"ext4", 0), EPERM),
    "kexec_load": ((246, 0, 0, 0, 0), EPERM),
    "mount": ((165, b"none", b"/tmp", b"tmpfs", 0, 0), EPERM),
    "umount": ((166, b"/proc", 2), EPERM),
    "remount of the root": ((165, b"", b"/", b"", 0x20, 0), EPERM),
    "pivot_root": ((155, b"/tmp", b"/tmp"), EPERM),
    "fsopen": ((430, b"tmpfs", 0), EPERM),
    "open_tree": ((428, -100, b"/", 1), EPERM),
    "mount_setattr": ((442, -100, b"/", 0, 0, 0), EPERM),
    "chroot": ((161, b"/tmp"), EPERM),
    "unshare of users": ((272, NEWUSER), EPERM),
    "clone with users": ((56, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0), EPERM),
    "clone3": ((435, 0, 0), ENOSYS),
    "setns": ((308, 0, 0), EPERM),
    "raw socket": ((41, 2, 3, 1), EPERM),
    "packet socket": ((41, 17, 3, 0), NO_FAMILY),
    "netlink socket": ((41, 16, 3, 0), NO_FAMILY),
    "crypto socket": ((41, 38, 5, 0), NO_FAMILY),
    "vsock": ((41, 40, 1, 0), NO_FAMILY),
    "packet socket, 64 bits": ((41, 1 << 32 | 17, 3, 0), NO_FAMILY),
    "keyctl": ((250, 0, -3, 0), EPERM),
    "add_key": ((248, b"user", b"a", b"b", 1, -3), EPERM),
    "request_key": ((249, b"user", b"a", 0, -3), EPERM),
    "bpf": ((321, 0, 0, 0), EPERM),
    "perf_event_open": ((298, 0, 0, -1, -1, 0), EPERM),
    "io_uring_setup": ((425, 1, 0), ENOSYS),
    "io_setup": ((206, 1, rawelf.SCRATCH), EPERM),
    "userfaultfd": ((323, 1), EPERM),
    "ptrace": ((101, 0, 0, 0, 0), EPERM),
    "process_vm_readv": ((310, 1, 0, 0, 0, 0, 0), EPERM),
    "pidfd_getfd": ((438, 0, 0, 0), EPERM),
    "memfd_secret": ((447, 0), EPERM),
    "modify_ldt": ((154, 0, rawelf.SCRATCH, 16), EPERM),
    "vmsplice": ((278, 1, 0, 0, 0), EPERM),
    "open_by_handle_at": ((304, 0, 0, 0), EPERM),
    "name_to_handle_at": ((303, -100, b"/", 0, 0, 0), EPERM),
    "block device": ((133, b"/tmp/block", 0o60600, 8 << 8), EPERM),
    "character device": ((133, b"/tmp/mem", 0o20600, 1 << 8 | 1), EPERM),
    "syslog": ((103, 3, 0, 0), EPERM),
    "settimeofday": ((164, 0, 0), EPERM),
    "sethostname": ((170, b"x", 1), EPERM),
    "iopl": ((172, 3), EPERM),
    "ioperm": ((173, 0, 1, 1), EPERM),
    "reboot": ((169, 0, 0, 0, 0), EPERM),
    "swapon": ((167, b"/tmp", 0), EPERM),
    "acct": ((163, b"/tmp/acct"), EPERM),
    "no address randomization": ((135, 0x40000), EPERM),
    "typing for the user": ((16, 0, TIOCSTI, b"x"), EPERM),
    "typing for the user, 64 bits": ((16, 0, 7 << 32 | TIOCSTI, b"x"), EPERM),
    "the console": ((16, 0, TIOCLINUX, b"\3"), EPERM),
    "line disciplines": ((16, 0, TIOCSETD, rawelf.SCRATCH), EPERM),
}


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    """A folder for programs that a container gets to see."""
    made = tmp_path_factory.mktemp("probes")
    made.chmod(0o755)
    for parent in list(made.parents)[:2]:
        parent.chmod(0o755)
    return made


def run(box, *words, status=None, more=(), **options):
    return box.estiva("run", "--rm", *UNTRUSTED, *more, IMAGE, *words, status=status, **options)


def shell(box, script, **options):
    return run(box, "sh", "-c", script, **options).stdout


def put(probes, name, *arguments, **more):
    path = probes / name
    path.write_bytes(rawelf.program(*arguments, **more))
    path.chmod(0o755)
    return f"/probes/{name}"


# --- the kernel ---


@rawelf.requires_x86
@pytest.mark.parametrize("how", ["run", "exec", "user"])
def test_system_calls_that_are_refused(box, probes, how):
    program = put(probes, "calls", [call for call, _ in CALLS.values()])
    mount = ("-v", f"{probes}:/probes:ro")
    if how == "exec":
        held = box.out("run", "-d", *UNTRUSTED, *mount, IMAGE, "sleep", "600")
        done = box.estiva("exec", held, program, text=False)
        box.estiva("rm", "-f", held)
    else:
        user = ("--user", "1000") if how == "user" else ()
        done = box.estiva("run", "--rm", *UNTRUSTED, *mount, *user, IMAGE, program, text=False)
    said = rawelf.results(done.stdout, len(CALLS))[0]
    wrong = {name: got for (name, (_, wanted)), got in zip(CALLS.items(), said, strict=True) if got != wanted}
    assert not wrong, wrong


@rawelf.requires_x86
def test_calls_of_32_bits_end_the_process(box, probes):
    program = put(probes, "old", [(rawelf.I386, I386_GETPID)])
    done = run(box, program, more=("-v", f"{probes}:/probes:ro"), text=False)
    assert done.returncode == 128 + signal.SIGSYS and not done.stdout


def test_the_kernels_files_can_not_be_written(box):
    script = (
        "for f in $(find /proc/sys /proc/sysrq-trigger /sys /proc/irq -type f -maxdepth 4 2>/dev/null | head -2000); do"
        " (echo 1 > $f) 2>/dev/null && echo wrote $f; done;"
        "(echo -1000 > /proc/self/oom_score_adj) 2>/dev/null && echo wrote oom;"
        "(echo 0 0 1 > /proc/self/uid_map) 2>/dev/null && echo wrote map;"
        "mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x 2>/dev/null && echo made a cgroup;"
        "cat /proc/kcore /proc/keys /proc/timer_list /sys/firmware/* 2>/dev/null | head -c 10; echo end"
    )
    assert shell(box, script) == "end\n"


def test_it_has_no_right_that_could_be_used_or_gained(box):
    told = shell(
        box, "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/uid_map; ulimit -n; ulimit -c"
    )
    assert set(re.findall(r"Cap\w+:\s(\w+)", told)) == {"0" * 16}
    assert re.findall(r"(?:NoNewPrivs|Seccomp):\s(\d)", told) == ["1", "2"]
    inside, outside, size = map(int, told.splitlines()[-3].split())
    assert inside == 0 and outside >= 65536 and size == 65536
    assert told.splitlines()[-2:] == ["1024", "0"]


def test_two_have_ids_of_their_own(box):
    names = [box.out("run", "-d", *UNTRUSTED, IMAGE, "sleep", "600") for _ in range(2)]
    maps = []
    for name in names:
        pid = box.out("inspect", "-f", "{{.State.Pid}}", name)
        maps.append(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])
        assert os.stat(f"/proc/{pid}").st_uid == int(maps[-1])
    box.estiva("rm", "-f", *names)
    assert len(set(maps)) == 2


def test_setuid_programs_of_the_image_give_nothing(box):
    made = box.out("create", IMAGE, "sh", "-c", "cp /bin/busybox /bin/su; chmod 4755 /bin/su")
    box.estiva("start", made)
    box.estiva("wait", made)
    box.estiva("commit", made, "setuid:1")
    box.estiva("rm", made)
    done = box.estiva(
        "run", "--rm", *UNTRUSTED, "--user", "1000", "setuid:1", "sh", "-c",
        "stat -c %a /bin/su; ln -s /bin/su /tmp/id; /tmp/id -u; grep Uid /proc/self/status",
    )  # fmt: skip
    assert done.stdout.split() == ["4755", "1000", "Uid:", *["1000"] * 4], done


# --- the machine's resources ---


def test_a_fork_bomb_ends_with_its_limit(box):
    done = run(
        box,
        "sh",
        "-c",
        "b() { b | b & }; b; sleep 3; ls /proc | grep -c '^[0-9]'",
        more=("--pids-limit", "40"),
    )
    assert "can't fork" in done.stderr
    limits = box.out("run", "-d", *UNTRUSTED, IMAGE, "sleep", "600")
    assert box.out("inspect", "-f", "{{.HostConfig.PidsLimit}}", limits) == "256"
    box.estiva("rm", "-f", limits)


def test_a_memory_bomb_is_killed_and_may_not_swap(box):
    name = box.out(
        "run", "-d", *UNTRUSTED, "--memory", "32m", IMAGE, "sh", "-c", "x=x; while :; do x=$x$x; done"
    )
    assert box.out("wait", name) == "137"
    shown = json.loads(box.out("inspect", name))[0]
    assert shown["HostConfig"]["MemorySwap"] == shown["HostConfig"]["Memory"] == 32 << 20
    assert shown["State"]["OOMKilled"] and shown["State"]["Exit"]["OOM"]["Scope"] == "own"
    box.estiva("rm", name)


@pytest.mark.parametrize("place", ["/work", "/tmp", "/dev/shm", "/dev"])
def test_no_disk_can_be_filled(box, place):
    script = f"dd if=/dev/zero of={place}/x bs=1M count=300; wc -c < {place}/x; echo here"
    done = run(box, "sh", "-c", script, more=("--memory", "400m"))
    size = int(done.stdout.split()[0])
    assert size <= 128 << 20 and "No space left" in done.stderr, done


def test_not_with_empty_files_either(box):
    script = "i=0; while [ $i -lt 20000 ]; do true > /work/$i || break; i=$((i+1)); done; echo $i"
    done = run(box, "sh", "-c", script)
    assert int(done.stdout) < 16384 and "No space left" in done.stderr


def test_nothing_else_can_be_written_to(box):
    script = (
        "for f in / /bin /etc /root /home /usr /var; do touch $f/x 2>/dev/null && echo $f; done;"
        "for f in hosts hostname resolv.conf passwd; do (echo x >> /etc/$f) 2>/dev/null && echo $f; done; echo end"
    )
    assert shell(box, script) == "end\n"


def test_endless_output_ends_it(box):
    name = box.out("run", "-d", *UNTRUSTED, "--output-limit", "100k", IMAGE, "yes")
    assert box.out("wait", name) == "137"
    assert len(box.estiva("logs", name).stdout) == 100 << 10
    end = json.loads(box.out("inspect", name))[0]["State"]["Exit"]
    assert end["Meaning"] == "SIGKILL from its limit of output"
    box.estiva("rm", name)
    done = box.estiva("run", "--rm", *UNTRUSTED, "--output-limit", "1k", IMAGE, "yes", status=137)
    assert len(done.stdout) == 1 << 10
    done = box.estiva("run", "--rm", "-t", *UNTRUSTED, "--output-limit", "1k", IMAGE, "yes", status=None)
    assert (
        done.returncode in (1, 125, 137) and len(done.stdout) <= 1 << 10
    )  # without a terminal -t is refused


def test_short_lines_fill_no_disk_by_the_log(box):
    name = box.out("run", "-d", *UNTRUSTED, "--output-limit", "1500k", IMAGE, "yes", "")
    box.out("wait", name)
    files = list(pathlib.Path(box.folder, "root/containers", name).glob("log*"))
    assert files and 16 << 20 < sum(file.stat().st_size for file in files) <= 33 << 20
    box.estiva("rm", name)


def test_endless_output_of_an_exec_ends_it(box):
    name = box.out("run", "-d", *UNTRUSTED, "--output-limit", "50k", IMAGE, "sleep", "600")
    done = box.estiva("exec", name, "yes", status=137)
    assert len(done.stdout) == 50 << 10
    assert box.out("exec", name, "echo", "goes on") == "goes on"
    box.estiva("rm", "-f", name)


def test_a_run_ends_with_its_time(box):
    begun = time.monotonic()
    name = box.out(
        "run",
        "-d",
        *UNTRUSTED,
        "--time-limit",
        "500ms",
        IMAGE,
        "sh",
        "-c",
        "trap '' TERM; sleep 600 & sleep 600",
    )
    assert box.out("wait", name) == "137" and time.monotonic() - begun >= 0.5
    assert (
        json.loads(box.out("inspect", name))[0]["State"]["Exit"]["Meaning"]
        == "SIGKILL from its limit of time"
    )
    assert "its limit of time" in box.out("why", name)
    box.estiva("rm", name)


def test_time_and_output_are_limits_of_any_container(box):
    box.estiva("run", "--rm", "--network", "none", "--time-limit", "300ms", IMAGE, "sleep", "600", status=137)
    done = box.estiva("run", "--rm", "--network", "none", "--output-limit", "10", IMAGE, "yes", status=137)
    assert done.stdout == "y\n" * 5


def test_limits_are_shown_and_are_others_only_if_asked_for(box):
    def shown(*more):
        name = box.out("create", *UNTRUSTED, *more, IMAGE, "true")
        found = json.loads(box.out("inspect", name))[0]["HostConfig"]
        box.estiva("rm", name)
        return found

    usual = shown()
    assert (
        usual["Profile"] == "untrusted" and usual["NetworkMode"] == "none" and usual["ReadonlyRootfs"] is True
    )
    assert (usual["Memory"], usual["MemorySwap"], usual["NanoCpus"]) == (512 << 20, 512 << 20, 10**9)
    assert (usual["PidsLimit"], usual["OutputLimit"], usual["TimeLimit"]) == (256, 64 << 20, 3600 * 10**9)
    assert (
        usual["CapDrop"] == ["ALL"]
        and usual["UsernsMode"] == "auto"
        and "no-new-privileges" in usual["SecurityOpt"]
    )
    assert set(usual["Tmpfs"]) == {"/tmp", "/work"}
    assert {"Name": "nofile", "Soft": 1024, "Hard": 1024} in usual["Ulimits"]
    other = shown("-m", "64m", "--cpus", "0.5", "--pids-limit", "9", "--time-limit", "7s", "--output-limit", "2m",
                  "--ulimit", "nofile=99", "--memory-swap", "80m")  # fmt: skip
    assert (other["Memory"], other["MemorySwap"], other["NanoCpus"]) == (64 << 20, 80 << 20, 5 * 10**8)
    assert (other["PidsLimit"], other["OutputLimit"], other["TimeLimit"]) == (9, 2 << 20, 7 * 10**9)
    assert [limit["Soft"] for limit in other["Ulimits"] if limit["Name"] == "nofile"] == [99]


# --- others ---


def test_it_sees_and_reaches_no_other_process(box):
    other = box.out("run", "-d", *UNTRUSTED, IMAGE, "sh", "-c", "echo secret > /work/secret; exec sleep 600")
    held = box.out("run", "-d", *UNTRUSTED, IMAGE, "sleep", "600")
    pids = [box.out("inspect", "-f", "{{.State.Pid}}", name) for name in (other, held)]
    script = (
        "ls /proc | grep -E '^[0-9]+$' | tr '\\n' ' ' 2>/dev/null; cat /proc/1/comm;"
        f"for p in {pids[0]} {os.getpid()} 2; do kill -9 $p 2>/dev/null && echo killed $p; done;"
        "kill -9 -1; echo killed"
    )
    told = box.estiva("exec", held, "sh", "-c", script, status=None).stdout
    assert "killed " not in told and "sleep" in told
    assert box.out("exec", other, "cat", "/work/secret") == "secret"
    links = {kind: {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in (*pids, "self")} for kind in
             ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")}  # fmt: skip
    assert all(len(each) == 3 for each in links.values()), links
    found = box.estiva("exec", held, "find", "/", "-xdev", "-name", "secret*", status=None).stdout
    assert not found.strip()
    box.estiva("rm", "-f", other, held)


def test_devices(box):
    told = shell(box, "ls /dev; find /dev -type b; cat /dev/mem /dev/kmsg /dev/vda 2>/dev/null | head -c 1")
    assert set(told.split()) <= {
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    }  # fmt: skip
    owners = [(s.st_uid, s.st_gid, s.st_mode) for s in map(os.stat, ("/dev/null", "/dev/zero", "/dev/tty"))]
    shell(box, "chmod 0 /dev/null /dev/zero /dev/tty; chown 1000 /dev/null; rm -f /dev/null; echo")
    assert [
        (s.st_uid, s.st_gid, s.st_mode) for s in map(os.stat, ("/dev/null", "/dev/zero", "/dev/tty"))
    ] == owners


def test_symlinks_lead_out_for_nobody(box, tmp_path):
    """What it leaves in the places of what the host reads and writes: files and cp go by the container's root."""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    code = f"""
import estiva
with estiva.container({IMAGE!r}, profile="untrusted") as box:
    box.exec(["sh", "-c", "ln -s {secret} /work/a; ln -s {tmp_path} /work/d; ln -s /proc/1/root/../../..{secret} /work/b;"
              "ln -s /proc/self/cwd /work/c; mkdir -p /work{tmp_path}"]).check()
    for name in ("a", "b", "d/secret", "c/etc/passwd", "../../../../..{secret}"):
        try:
            assert b"the host's" not in box.files.read("/work/" + name), name
        except estiva.errors.EstivaError:
            pass
    for name in ("a", "d/new", "b"):
        try:
            box.files.write("/work/" + name, "box")
        except estiva.errors.EstivaError:
            pass
    assert box.files.read("/etc/passwd").startswith(b"root:x:0:0")
"""
    box.python(code)
    assert secret.read_text() == "the host's" and os.listdir(tmp_path) == ["secret"]


# --- what contradicts ---

REFUSED = {
    "--privileged": (),
    "--cap-add": ("SYS_ADMIN",),
    "--device": ("/dev/fuse",),
    "--device-cgroup-rule": ("a *:* rwm",),
    "--publish": ("8080:80",),
    "--publish-all": (),
    "--sysctl": ("net.ipv4.ip_forward=1",),
    "--volumes-from": ("x",),
    "--pid": ("host",),
    "--ipc": ("host",),
    "--uts": ("host",),
    "--cgroupns": ("host",),
    "--userns": ("host",),
    "--uidmap": ("0:0:1",),
    "--subuidname": ("root",),
    "--restart": ("always",),
    "--oom-kill-disable": (),
    "--health-on-failure": ("restart", "--health-cmd", "true"),
    "--network": ("host",),
    "--network ": ("bridge",),
    "--network  ": ("container:x",),
    "--security-opt": ("seccomp=unconfined",),
    "--security-opt ": ("no-new-privileges=false",),
    "--security-opt  ": ("systempaths=unconfined",),
    "--security-opt   ": ("unmask=/proc/kcore",),
    "--security-opt    ": ("apparmor=unconfined",),
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_contradict_are_refused_by_name(box, option):
    done = run(box, "echo", "ran", more=(option.strip(), *REFUSED[option]), status=125)
    assert not done.stdout and option.strip() in done.stderr and "--profile untrusted" in done.stderr, (
        done.stderr
    )


def test_mounts_of_the_host_are_read_only_and_lead_to_no_service(box, tmp_path):
    import socket

    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "docker.sock"))
        for words in (
            ("-v", f"{tmp_path}:/x"),
            ("-v", f"{tmp_path}:/x:O"),
            ("-v", "/x"),
            ("-v", "named:/x"),
            ("-v", f"{tmp_path}/docker.sock:/x:ro"),
            ("-v", "/:/x:ro"),
            ("-v", "/run:/x:ro"),
            ("-v", "/var/run:/x:ro"),
            ("-v", "/proc:/x:ro"),
            ("-v", "/sys/fs/cgroup:/x:ro"),
            ("-v", "/dev/null:/x:ro"),
            ("--mount", f"type=bind,src={tmp_path},dst=/x"),
            ("--mount", f"type=bind,src={tmp_path},dst=/x,ro,bind-propagation=rshared"),
            ("--mount", f"type=image,src={IMAGE},dst=/x,rw=true"),
            ("--mount", "type=volume,src=named,dst=/x"),
        ):
            done = run(box, "echo", "ran", more=words, status=125)
            assert not done.stdout and "--profile untrusted" in done.stderr, (words, done.stderr)
    assert box.out("volume", "ls", "-q") == ""
    tmp_path.chmod(0o755)
    done = run(
        box, "sh", "-c", "cat /x/file; echo y > /x/file; touch /x/new", more=("-v", f"{tmp_path}:/x:ro")
    )
    assert done.stdout == "x" and sorted(os.listdir(tmp_path)) == ["docker.sock", "file"]


def test_volumes_of_the_image_are_memory(box):
    box.image("volumes:1", ["VOLUME /data", "VOLUME /etc", "WORKDIR /home"])
    script = (
        "df /data /etc /home | grep -c ^tmpfs; pwd; cat /etc/group | head -1; echo x > /data/x && echo wrote"
    )
    done = box.estiva("run", "--rm", *UNTRUSTED, "volumes:1", "sh", "-c", script)
    assert done.stdout.split() == ["3", "/home", "root:x:0:", "wrote"]
    assert box.out("volume", "ls", "-q") == ""


def test_what_comes_later_can_not_undo_it(box):
    held = box.out("run", "-d", *UNTRUSTED, IMAGE, "sleep", "600")
    done = box.estiva("exec", "--privileged", held, "true", status=1)
    assert "--profile untrusted" in done.stderr
    done = box.estiva("update", "--restart", "always", held, status=1)
    assert "--profile untrusted" in done.stderr
    box.estiva("rm", "-f", held)


def test_there_is_one_profile(box):
    assert (
        "no profile 'trusted'"
        in box.estiva("run", "--rm", "--profile", "trusted", IMAGE, "true", status=125).stderr
    )
    done = box.estiva("run", "--rm", "--allow-host", "a.test:80", IMAGE, "true", status=125)
    assert "--profile untrusted" in done.stderr


def test_from_a_program(box):
    code = f"""
import estiva
done = estiva.run({IMAGE!r}, "sh -c 'id -u; touch /x || echo no'", profile="untrusted", memory="64m", time_limit=30)
assert done.stdout == b"0\\nno\\n", done
for options in ({{"privileged": True}}, {{"read_only": False}}, {{"volumes": {{"/etc": "/x"}}}}, {{"profile": "none"}}, {{"allow": "x"}}):
    try:
        estiva.run({IMAGE!r}, "true", **{{"profile": "untrusted", **options}})
    except estiva.errors.EstivaError as error:
        print(type(error).__name__, error)
    else:
        raise AssertionError(options)
done = estiva.run({IMAGE!r}, "sleep 600", profile="untrusted", time_limit="300ms")
assert done.status == 137, done
with estiva.container({IMAGE!r}, profile="untrusted", output_limit="10k") as box:
    done = box.exec("yes")
    assert done.status == 137 and len(done.stdout) == 10 << 10, len(done.stdout)
"""
    told = box.python(code)
    assert told.count("Conflict") == 3 and told.count("InvalidInput") == 2, told


def test_a_monitor_that_is_killed_leaves_nothing_that_runs_on(box):
    held = box.out("run", "-d", *UNTRUSTED, IMAGE, "sleep", "600")
    pid = int(box.out("inspect", "-f", "{{.State.Pid}}", held))
    state = json.loads(pathlib.Path(box.folder, "run/containers", held, "state.json").read_text())
    os.kill(state["monitor"], signal.SIGKILL)
    box.estiva("ps", "-a")
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    box.estiva("rm", "-f", held)


def test_the_filter_is_one_for_all(box):
    """The strict filter is compiled once, and is not the usual one."""
    shell(box, "true")
    kept = subprocess.run(
        ["find", f"{box.folder}/root", "-name", "*.bpf"], capture_output=True, text=True, check=True
    ).stdout
    assert "/strict-" in kept
