"""Log drivers of real containers: local, syslog, journald, none, and what each leaves for `logs`."""

import os
import socket
import subprocess
import threading

import pytest

from enginekit import ESTIVA, eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


class Syslog:
    """A daemon of datagrams that keeps what it hears."""

    def __init__(self, folder, name="syslog"):
        self.path = f"{folder}/{name}"
        self.heard = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            data = self.socket.recv(1 << 20)
            if data == b"":
                self.socket.close()
                return
            self.heard.append(data.decode())

    def close(self):
        ending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ending.sendto(b"", self.path)
        ending.close()
        os.unlink(self.path)


def test_local_is_compressed_and_read_to_the_last_line(box):
    options = ("--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=4")
    box.estiva(
        "run",
        "-d",
        "--name",
        "local",
        "--network",
        "none",
        *options,
        "box:1",
        "sh",
        "-c",
        "seq 300000; sleep 9999",
    )
    folder = f"{box.folder}/root/containers/{box.estiva('inspect', '-f', '{{.Id}}', 'local').stdout.strip()}"
    eventually(lambda: len([name for name in os.listdir(folder) if name.endswith(".gz")]) == 3)
    kept = box.estiva("logs", "local").stdout.splitlines()
    assert kept == [str(number) for number in range(int(kept[0]), 300001)] and len(kept) > 30000
    assert box.estiva("logs", "-n", "40000", "local").stdout.splitlines() == kept[-40000:]
    assert box.estiva("ps", "-q").stdout  # who compresses does not hold what says that it runs
    box.estiva("rm", "-f", "local")
    eventually(lambda: not os.path.exists(folder))


def test_one_small_file_has_the_newest_lines(box):
    options = ("--network", "none", "--log-opt", "max-size=1k")
    script = "seq 1 30; sleep 0.2; seq 100 160; echo FATAL; exit 1"
    box.estiva("run", "--name", "small", *options, "box:1", "sh", "-c", script, status=1)
    kept = box.estiva("logs", "small").stdout.splitlines()
    said = [*map(str, range(1, 31)), *map(str, range(100, 161)), "FATAL"]
    assert kept and kept == said[-len(kept) :]
    path = box.out("inspect", "-f", "{{.LogPath}}", "small")
    assert 0 < os.path.getsize(path) < 1000 + 100


def test_syslog(box):
    peer = Syslog(box.folder)
    try:
        box.estiva(
            "run", "--name", "sys", "--network", "none", "--log-driver", "syslog",
            "--log-opt", f"syslog-address=unixgram://{peer.path}", "--log-opt", "tag={{.Name}}", "--log-opt",
            "syslog-facility=local0", "box:1", "sh", "-c", "echo out; echo err >&2; printf half",
        )  # fmt: skip
    finally:
        peer.close()
    found = sorted((line.partition(">")[0], line.partition("]: ")[2]) for line in peer.heard)
    assert found == [("<131", "err\n"), ("<134", "half\n"), ("<134", "out\n")]
    assert all(" sys[" in line for line in peer.heard)
    assert sorted(box.estiva("logs", "sys").stdout.split()) == ["half", "out"]  # what is kept beside it


def test_a_dead_syslog_does_not_hold_up_the_container(box):
    peer = Syslog(box.folder, "dying")
    options = ("--log-driver", "syslog", "--log-opt", f"syslog-address=unixgram://{peer.path}")
    box.estiva("run", "-d", "--name", "alone", "--network", "none", *options, "box:1", "sh", "-c",
               "echo first; while ! test -e /go; do usleep 20000; done; seq 300000; echo done; sleep 9999")  # fmt: skip
    eventually(lambda: any("first" in line for line in peer.heard))
    peer.close()
    box.estiva("exec", "alone", "touch", "/go")
    eventually(lambda: box.estiva("logs", "-n", "1", "alone").stdout == "done\n", 600)
    again = Syslog(box.folder, "dying")
    try:
        eventually(lambda: any("lines are missing here" in line for line in again.heard), 300)
        assert any(line.endswith("]: done\n") for line in again.heard)
    finally:
        box.estiva("rm", "-f", "alone")
        again.close()


def test_journald_in_a_machine_that_has_one(box):
    """Nothing of this machine's: /run is our own, in a mount namespace."""
    script = """
    mount -t tmpfs none /run
    mkdir -p /run/systemd/journal
    exec "$0" -c '
import os, socket, subprocess, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
peer.bind("/run/systemd/journal/socket")
subprocess.run([*sys.argv[1:], "run", "--rm", "--name", "jour", "--network", "none", "--log-driver", "journald",
    "--log-opt", "labels=tier", "-l", "tier=front", "box:1", "echo", "hello"], check=True, stdout=subprocess.DEVNULL)
peer.settimeout(5)
os.write(1, peer.recv(1 << 20))
' "$@"
    """
    import sys

    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, sys.executable, ESTIVA],
        env=box.env, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        b"hello" in done.stdout
        and b"\nTIER=front\n" in done.stdout
        and b"\nCONTAINER_NAME=jour\n" in done.stdout
    )


def test_what_can_t_be_read_and_what_can_t_be_started(box):
    box.estiva("run", "--name", "none", "--network", "none", "--log-driver", "none", "box:1", "echo", "hi")
    assert "configured logging driver does not support reading" in box.estiva("logs", "none", status=1).stderr
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listening.close()
    options = ("--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{port}")
    before = box.estiva("ps", "-aq").stdout
    told = box.estiva("run", "--rm", "--network", "none", *options, "box:1", "true", status=125).stderr
    assert "failed to initialize logging driver: tcp 127.0.0.1:" in told and "connection refused" in told
    assert box.estiva("ps", "-aq").stdout == before


def test_details(box):
    options = ("-l", "tier=front", "--log-opt", "labels=tier", "--log-opt", "tag={{.ImageName}}")
    box.estiva("run", "--name", "told", "--network", "none", *options, "box:1", "echo", "hi")
    assert box.estiva("logs", "--details", "told").stdout == "tag=box%3A1,tier=front hi\n"
    assert box.estiva("logs", "told").stdout == "hi\n"


@pytest.mark.parametrize(
    ("marker", "count"), [("4711", "4711"), ("", "1")]
)  # or there was no room for the number
def test_the_check_tells_what_a_full_disk_has_taken(box, marker, count):
    made = box.estiva(
        "run", "-d", "--name", "lossy", "--network", "none", "box:1", "sleep", "1000"
    ).stdout.strip()
    path = f"{box.folder}/run/containers/{made}/log.lost"
    with open(path, "w") as file:
        file.write(marker)
    told = box.estiva("system", "check", status=1).stdout
    assert f"container {made[:12]} has lost {count} or more bytes of its log" in told
    assert "bytes of output are missing" in box.estiva("logs", "lossy").stderr
    os.unlink(path)
    box.estiva("system", "check")
    box.estiva("rm", "-f", "lossy")
