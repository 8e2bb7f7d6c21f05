"""`logs` of real containers: nothing is lost or told twice, whatever happens meanwhile."""

import fcntl
import os
import signal
import subprocess

import pytest

from enginekit import eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


LINES = 1_200_000  # 90 MB of log: more than is kept
WAIT = "while ! test -e /go; do usleep 20000; done; "


def followers(box):
    return [name for name in os.listdir(f"{box.folder}/root/ingest") if name.endswith(".log")]


def follows(box):
    """Whether one has begun to: its folder has its lock, and the writer will heed it."""
    for name in followers(box):
        fd = os.open(f"{box.folder}/root/ingest/{name}", os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def follow(box, name, *options):
    """`logs -f` into a file, once it follows."""
    with open(f"{box.folder}/{name}.out", "wb") as out:
        child = box.start("logs", "-f", *options, name, stdout=out, stderr=subprocess.STDOUT)
    eventually(lambda: follows(box))
    return child


def followed(box, name):
    with open(f"{box.folder}/{name}.out", "rb") as file:
        return file.read()


def numbers(last):
    return b"".join(b"%d\n" % number for number in range(1, last + 1))


def test_every_line_once_over_rotations(box):
    box.estiva("run", "-d", "--name", "fast", "--network", "none", "box:1", "sh", "-c", f"{WAIT}seq {LINES}")
    child = follow(box, "fast")
    box.estiva("exec", "fast", "touch", "/go")
    assert child.wait(300) == 0
    assert followed(box, "fast") == numbers(LINES)
    assert not followers(box)
    kept = box.estiva("logs", "fast", text=False).stdout
    assert numbers(LINES).endswith(kept) and 0 < len(kept) < len(numbers(LINES))
    for count in (1, 3, 200_000):
        expected = b"".join(b"%d\n" % number for number in range(LINES - count + 1, LINES + 1))
        assert box.estiva("logs", "--tail", count, "fast", text=False).stdout == expected


def test_a_follower_that_is_stopped_while_the_container_ends_and_is_removed(box):
    box.estiva(
        "run", "-d", "--rm", "--name", "gone", "--network", "none", "box:1", "sh", "-c", f"{WAIT}seq {LINES}"
    )
    child = follow(box, "gone")
    os.kill(child.pid, signal.SIGSTOP)
    box.estiva("exec", "gone", "touch", "/go")
    box.estiva("wait", "gone", status=None)
    eventually(lambda: "gone" not in box.out("ps", "-a", "--format", "{{.Names}}").split())
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait(300) == 0
    assert followed(box, "gone") == numbers(LINES)
    assert not followers(box)


def test_a_follower_ends_with_the_run(box):
    """As docker's: another run is another thing to follow."""
    script = "echo began; while :; do sleep 0.05; done"
    box.estiva("run", "-d", "--name", "again", "--network", "none", "box:1", "sh", "-c", script)
    child = follow(box, "again")
    eventually(lambda: followed(box, "again"))
    os.kill(child.pid, signal.SIGSTOP)
    box.estiva("restart", "-t", "0", "again")
    eventually(lambda: box.out("logs", "again") == "began\nbegan")
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait(60) == 0
    assert followed(box, "again") in (b"began\n", b"began\nbegan\n")
    assert not followers(box)
    box.estiva("rm", "-f", "again")


def test_a_follower_of_what_never_ran(box):
    box.estiva("create", "--name", "never", "--network", "none", "box:1", "true")
    assert box.out("logs", "-f", "never") == ""
    box.estiva("rm", "never")


def test_half_a_line_stays_while_the_monitor_sleeps(box):
    script = "printf abc; printf '\\377' >&2; sleep 2; echo def; echo x >&2"
    box.estiva("run", "-d", "--name", "half", "--network", "none", "box:1", "sh", "-c", script)
    box.estiva("wait", "half")
    done = box.estiva("logs", "half")
    assert (done.stdout, done.stderr) == ("abcdef\n", "\N{REPLACEMENT CHARACTER}x\n")


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_both_streams_in_the_order_in_which_they_were_written(box, driver):
    script = "for i in 1 2 3; do echo out$i; sleep 0.1; echo err$i >&2; sleep 0.1; done"
    options = ("--name", driver, "--network", "none", "--log-driver", driver)
    box.estiva("run", *options, "box:1", "sh", "-c", script)
    said = [f"{stream}{number}" for number in (1, 2, 3) for stream in ("out", "err")]
    for flags, expected in (((), said), (("-t",), said), (("-n", "3"), said[3:]), (("-f",), said)):
        child = box.start("logs", *flags, driver, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        told = child.communicate(timeout=60)[0].decode().splitlines()
        assert [line.split()[-1] for line in told] == expected, flags


def test_until_ends_a_follower(box):
    script = "while :; do echo tick; sleep 0.05; done"
    box.estiva("run", "-d", "--name", "ticks", "--network", "none", "box:1", "sh", "-c", script)
    assert set(box.out("logs", "-f", "--until", "0s", "ticks", timeout=60).split()) <= {"tick"}
    box.estiva("rm", "-f", "ticks")


def test_since_and_until(box):
    script = "echo a; sleep 1; echo b; echo c >&2; sleep 1; echo d"
    box.estiva("run", "-d", "--name", "timed", "--network", "none", "box:1", "sh", "-c", script)
    box.estiva("wait", "timed")
    stamps = [line.split()[0] for line in box.estiva("logs", "-t", "timed").stdout.splitlines()]
    assert box.out("logs", "--since", stamps[1], "timed").split() == ["b", "d"]
    assert box.out("logs", "--until", stamps[1], "timed").split() == ["a", "b"]
    assert box.out("logs", "--since", stamps[1], "--until", stamps[1], "timed").split() == ["b"]
    assert box.out("logs", "--since", "99999999999999", "timed") == ""
    assert box.out("logs", "--since", "1", "timed").split() == ["a", "b", "d"]
