"""`estiva run` as a user types it, on the real kernel: identity, isolation, streams, exit statuses, mounts."""

import os
import pathlib
import subprocess
import time

import pytest

from enginekit import IMAGE, eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def run(box, *words, **options):
    return box.out("run", "--rm", "--network", "none", *words, **options)


def test_output_and_exit_status(box):
    done = box.estiva("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["nosuch"], 127, "nosuch"),
        (["/etc/passwd"], 126, "/etc/passwd"),
        (["/etc"], 126, "/etc"),
        (["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"], 137, ""),
        (["false"], 1, ""),
    ],
)
def test_exit_statuses_are_dockers(box, command, status, words):
    done = box.estiva("run", "--rm", "--network", "none", IMAGE, *command, status=status)
    assert words in done.stderr and done.stderr.count("\n") <= 2
    assert box.out("ps", "-aq") == ""


def test_a_failed_start_leaves_a_created_container(box):
    box.estiva("run", "--name", "failed", "--network", "none", IMAGE, "nosuch", status=127)
    assert box.out("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "failed") == "created 127"
    box.estiva("rm", "failed")


def test_is_process_one_alone_in_its_namespaces(box):
    script = (
        "echo $$; ps | wc -l; hostname; readlink /proc/self/ns/pid /proc/self/ns/net; cat /proc/self/cgroup"
    )
    lines = run(box, "--hostname", "ship", IMAGE, "sh", "-c", script).splitlines()
    assert lines[0] == "1" and int(lines[1]) <= 4 and lines[2] == "ship"
    assert lines[3] != os.readlink("/proc/self/ns/pid")
    assert all(line.endswith(":/") for line in lines[5:]), lines


def test_children_end_with_the_main_process(box):
    marker = f"31{os.getpid()}"
    run(box, IMAGE, "sh", "-c", f"(exec sleep {marker}) & (exec sleep {marker}) & exit 0")
    assert subprocess.run(["pgrep", "-f", f"^sleep {marker}$"], capture_output=True).returncode == 1


def test_nothing_of_the_host_is_visible(box):
    mounts = run(box, IMAGE, "cat", "/proc/mounts").splitlines()
    points = {line.split()[1] for line in mounts}
    assert "/" in points and "/proc" in points
    assert not any(point.startswith(("/work", "/home/", "/var", "/run")) for point in points)
    fds = run(box, IMAGE, "sh", "-c", "ls -l /proc/self/fd | wc -l; ls -l /proc/self/fd")
    assert not any(word in fds for word in ("estiva.db", "/root/", box.folder)), fds
    assert int(fds.splitlines()[0]) <= 5  # total, 0, 1, 2 and ls's own


def test_kernel_files_are_masked_and_read_only(box):
    script = (
        "cat /proc/keys | wc -c; ls /proc/acpi /sys/firmware | wc -l; echo x > /proc/sys/kernel/hostname;"
        "mkdir /sys/fs/cgroup/x; mount -t tmpfs x /tmp; date -s 2001-01-01 >/dev/null; mknod /tmp/d b 8 0;"
        "head -c 1 /tmp/d"
    )
    done = box.estiva("run", "--rm", "--network", "none", IMAGE, "sh", "-c", script, status=1)
    assert done.stdout.split() == ["0", "3"]
    errors = done.stderr.splitlines()
    assert len(errors) == 5, errors
    assert all("ead-only file system" in line for line in errors[:2]), errors
    assert "ermission denied" in errors[2] and "not permitted" in errors[3] and "not permitted" in errors[4]


def test_capabilities_and_no_new_privileges(box):
    status = run(box, IMAGE, "cat", "/proc/self/status")
    caps = dict(
        line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNew", "Seccomp:"))
    )
    assert caps["CapEff"] == caps["CapBnd"] == "00000000a80425fb"
    assert caps["CapInh"] == caps["CapAmb"] == "0000000000000000"
    assert caps["Seccomp"] == "2" and caps["NoNewPrivs"] == "0"
    status = run(
        box, "--cap-drop", "ALL", "--cap-add", "NET_RAW", "--security-opt", "no-new-privileges",
        "--security-opt", "seccomp=unconfined", IMAGE, "cat", "/proc/self/status",
    )  # fmt: skip
    assert "CapEff:\t0000000000002000" in status
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t0" in status


def test_privileged(box):
    out = run(
        box,
        "--privileged",
        IMAGE,
        "sh",
        "-c",
        "mount -t tmpfs x /tmp && ls /dev/null && touch /sys/x; echo $?",
    )
    assert "/dev/null" in out


def test_environment_user_and_working_directory(box):
    env_file = pathlib.Path(box.folder, "vars")
    env_file.write_text("# comment\nFROM_FILE=1\n")
    words = [
        "-e",
        "A=b c",
        "--env-file",
        str(env_file),
        "-w",
        "/var/new/place",
        "-u",
        "user",
        "--group-add",
        "extra",
    ]
    out = run(box, *words, IMAGE, "sh", "-c", "env; id; pwd").splitlines()
    assert {"A=b c", "FROM_FILE=1", "HOME=/home"} <= set(out)
    assert "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)" in "\n".join(out)
    assert out[-1] == "/var/new/place"
    assert run(box, "-u", "1234:4321", IMAGE, "id").startswith("uid=1234 gid=4321")
    box.estiva("run", "--rm", "--network", "none", "-u", "ghost", IMAGE, "id", status=125)


def test_standard_input(box):
    assert run(box, "-i", IMAGE, "cat", input="one\ntwo\n") == "one\ntwo"
    assert run(box, IMAGE, "cat", input="ignored") == ""
    big = "x" * 3_000_000
    assert run(box, "-i", IMAGE, "wc", "-c", input=big) == "3000000"
    assert box.estiva("run", "--rm", "-i", IMAGE, "true", input=big).returncode == 0


def test_large_output_is_whole(box):
    out = box.estiva("run", "--rm", "--network", "none", IMAGE, "seq", "300000").stdout
    assert out == "".join(f"{n}\n" for n in range(1, 300001))


def test_a_terminal(box):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    child = box.start(
        "run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c", "tty; stty size; read x; echo got $x",
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    out = b""
    sent = False
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        out += data
        if b"/dev/" in out and not sent:
            os.write(master, b"hello\r")
            sent = True
        if child.poll() is not None and b"got hello" in out:
            break
    os.close(master)
    assert child.wait(120) == 0, out
    assert b"/dev/pts/0" in out or b"/dev/console" in out
    assert b"33 77\r\n" in out and b"got hello\r\n" in out


def test_writes_go_to_the_read_write_layer_and_vanish(box):
    assert run(box, IMAGE, "sh", "-c", "echo x > /new; rm /etc/group; cat /new") == "x"
    assert run(box, IMAGE, "ls", "/new", "/etc/group", status=None) == "/etc/group"
    done = box.estiva("run", "--rm", "--read-only", "--tmpfs", "/scratch", IMAGE, "sh", "-c",
                      "echo x > /scratch/f && cat /scratch/f; echo x > /f", status=1)  # fmt: skip
    assert done.stdout == "x\n" and "Read-only" in done.stderr


def test_bind_mounts_and_volumes(box):
    shared = pathlib.Path(box.folder, "shared")
    shared.mkdir()
    (shared / "in").write_text("from the host")
    assert (
        run(box, "-v", f"{shared}:/mnt", IMAGE, "sh", "-c", "cat /mnt/in; echo back > /mnt/out")
        == "from the host"
    )
    assert (shared / "out").read_text() == "back\n"
    done = box.estiva("run", "--rm", "-v", f"{shared}:/mnt:ro", IMAGE, "touch", "/mnt/no", status=1)
    assert "Read-only" in done.stderr
    run(box, "--mount", f"type=bind,src={shared},dst=/mnt,readonly", IMAGE, "touch", "/mnt/no", status=1)
    box.estiva("run", "--rm", "--mount", "type=bind,src=/nosuch,dst=/x", IMAGE, "true", status=125)

    run(box, "-v", "data:/usr", IMAGE, "sh", "-c", "echo kept > /usr/kept")
    assert run(box, "-v", "data:/d", IMAGE, "sh", "-c", "cat /d/kept; ls /d") == "kept\nkept\nshare"
    assert box.out("volume", "ls", "-q") == "data"
    box.estiva("volume", "rm", "data")
    run(box, "-v", "/anonymous", IMAGE, "touch", "/anonymous/f")
    assert box.out("volume", "ls", "-q") == ""  # --rm takes anonymous volumes along


def test_tmpfs_options(box):
    out = run(
        box,
        "--tmpfs",
        "/t:size=1m,mode=700",
        IMAGE,
        "sh",
        "-c",
        "stat -c %a /t; dd if=/dev/zero of=/t/f bs=1k count=2000",
        status=1,
    )
    assert out == "700"


def test_names(box):
    box.estiva("run", "-d", "--name", "taken", "--network", "none", IMAGE, "sleep", "100")
    done = box.estiva("run", "--name", "taken", IMAGE, "true", status=125)
    assert "taken" in done.stderr and done.stderr.startswith("estiva: ")
    box.estiva("run", "--name", "-bad", IMAGE, "true", status=125)
    box.estiva("run", "--name", "../x", IMAGE, "true", status=125)
    box.estiva("rm", "-f", "taken")
    assert not os.listdir(f"{box.folder}/run/names")


def test_init_reaps_and_passes_signals_on(box):
    script = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    container = box.out("run", "-d", "--init", "--network", "none", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in box.out("logs", container))
    assert box.out("exec", container, "sh", "-c", "cat /proc/[0-9]*/stat | wc -l") >= "2"
    box.estiva("stop", "-t", "120", container)
    assert box.out("inspect", "--format", "{{.State.ExitCode}}", container) == "3"
    box.estiva("rm", container)


def test_signals_reach_the_container(box):
    script = "trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    child = box.start(
        "run", "--rm", "--network", "none", IMAGE, "sh", "-c", script, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    child.terminate()
    assert child.wait(120) == 5
    assert child.stdout.read() == "term\n"
    child.stdout.close()


def test_sharing_a_network_namespace(box):
    box.estiva("run", "-d", "--name", "lender", "--network", "none", IMAGE, "sleep", "100")
    theirs = box.out("exec", "lender", "readlink", "/proc/self/ns/net")
    assert (
        box.out("run", "--rm", "--network", "container:lender", IMAGE, "readlink", "/proc/self/ns/net")
        == theirs
    )
    box.estiva("rm", "-f", "lender")
    box.estiva("run", "--rm", "--network", "container:lender", IMAGE, "true", status=125)
    box.estiva("run", "--rm", "--network", "nosuch", IMAGE, "true", status=125)


def test_bridge_with_a_published_port(box):
    box.estiva("run", "-d", "--name", "web", "-p", "127.0.0.1:8099:80", IMAGE, "sh", "-c",
               "while :; do echo served | nc -l -p 80; done")  # fmt: skip
    address = box.out("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web")
    assert box.out("port", "web") == "80/tcp -> 127.0.0.1:8099"
    ask = [*box.prefix, "busybox", "nc", "-w", "2", "127.0.0.1", "8099"]
    eventually(
        lambda: (
            "served" in subprocess.run(ask, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
        )
    )
    words = ("run", "--rm", IMAGE, "nc", "-w", "2", address, "80")
    eventually(lambda: "served" in box.out(*words, status=None))  # its nc listens again in a moment
    done = box.estiva(
        "run", "-d", "-p", "127.0.0.1:8099:80", "--name", "second", IMAGE, "sleep", "9", status=125
    )
    assert "8099" in done.stderr
    box.estiva("rm", "-f", "web", "second")
    assert "eth0" in box.out("run", "--rm", IMAGE, "cat", "/proc/net/dev")
    hosts = box.out("run", "--rm", "--name", "named", "--hostname", "pier", IMAGE, "cat", "/etc/hosts")
    assert "pier" in hosts


def test_stop_signal_and_time_out(box):
    stubborn = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    words = ("--name", "stubborn", "--stop-timeout", "86400", "--network", "none")
    box.estiva("run", "-d", *words, IMAGE, *stubborn)
    box.until_up("stubborn")
    begin = time.monotonic()
    box.estiva("stop", "-t", "1", "stubborn")
    assert time.monotonic() - begin > 0.9
    assert box.out("inspect", "-f", "{{.State.ExitCode}} {{.State.Running}}", "stubborn") == "137 false"
    box.estiva("rm", "stubborn")
    box.estiva("run", "-d", "--name", "usr", "--stop-signal", "USR1", "--network", "none", IMAGE, "sh", "-c",
               "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done")  # fmt: skip
    box.until_up("usr")
    box.estiva("stop", "-t", "120", "usr")
    assert box.out("wait", "usr") == "9"
    box.estiva("rm", "usr")


def test_limits_hold_and_are_told(box):
    hog = "x=$(yes | head -c 60000000); echo ${#x}"
    box.estiva("run", "--name", "hog", "-m", "16m", "--network", "none", IMAGE, "sh", "-c", hog, status=137)
    assert box.out("inspect", "-f", "{{.State.OOMKilled}}", "hog") == "true"
    box.estiva("rm", "hog")
    bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done"
    done = box.estiva(
        "run", "--rm", "--pids-limit", "10", "--network", "none", IMAGE, "sh", "-c", bomb, status=None
    )
    assert "fork" in done.stderr
    show = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; ulimit -n"
    out = run(box, "--cpus", "0.5", "--ulimit", "nofile=123:456", IMAGE, "sh", "-c", show, status=None)
    assert out.startswith("50000") and out.endswith("123")
    done = box.estiva("run", "--rm", "--cpuset-cpus", "999", IMAGE, "true", status=125)
    assert "999" in done.stderr
