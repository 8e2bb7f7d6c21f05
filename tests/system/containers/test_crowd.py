"""Many containers at once, from many processes: no lock error, no address twice or lost, nothing half made."""

import json
import os
import random
import subprocess
import sys
import threading

import pytest

from enginekit import CHECKOUT, IMAGE, eventually, host
from killkit import assert_nothing_left

SOURCE = str(CHECKOUT / "src")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--rm", IMAGE, "true")
        yield made


def at_once(count, work):
    """Run work(0), work(1) ... in threads; every error that came."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, (len(errors), errors[0])


def test_a_hundred_on_the_bridge(box):
    """All started at the same moment, each with a port and a volume of its own, all alive together."""
    at_once(
        100,
        lambda n: box.estiva(
            "run", "-d", "--name", f"c{n:02}", "-p", "80", "-v", "/v", IMAGE, "sleep", "3000"
        ),
    )
    ids = box.out("ps", "-q", "--no-trunc").split()
    records = json.loads(box.out("inspect", *ids))
    assert len(records) == 100
    assert len({record["NetworkSettings"]["IPAddress"] for record in records}) == 100
    assert len({record["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] for record in records}) == 100
    assert box.db("SELECT count(*), count(DISTINCT container) FROM leases") == [(100, 100)]
    assert box.out("system", "check") == "all is well"
    assert box.out("exec", "c00", "cat", "/proc/net/dev").count("eth0") == 1
    at_once(10, lambda n: box.estiva("rm", "-f", "-v", *ids[n * 10 : n * 10 + 10]))
    assert_nothing_left(box)


def test_the_same_name_for_all(box):
    """One gets it, the others are told so."""
    done = []
    at_once(
        20,
        lambda n: done.append(box.estiva("run", "-d", "--name", "only", IMAGE, "sleep", "3000", status=None)),
    )
    assert sorted(run.returncode for run in done) == [0] + [125] * 19
    assert all("in use" in run.stderr for run in done if run.returncode)
    at_once(8, lambda n: box.estiva("rm", "-f", "only", status=None))
    assert_nothing_left(box)


def test_all_kinds_of_verbs_at_once(box):
    """Each worker lives a life of its own; some look, sweep and prune all the time."""

    def work(number):
        rng = random.Random(number)
        name = f"worker{number}"
        network = rng.choice(["none", "bridge"])
        if number % 8 == 0:
            for _ in range(4):
                box.estiva("ps", "-a")
                assert "problem" not in box.out("system", "check")
        elif number % 8 == 1:
            for _ in range(3):
                assert "problem" not in box.out("system", "prune", "-f")
        else:
            box.estiva("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "3000")
            assert box.out("exec", name, "echo", name) == name
            box.estiva("run", "--rm", "--network", network, IMAGE, "true")
            box.estiva("stop", "-t", "0", name)
            box.estiva("start", name, status=None)  # a prune may have taken it
            box.estiva("rm", "-f", name)

    at_once(24, work)
    assert_nothing_left(box)


def test_start_and_stop_of_one(box):
    """Whoever comes first; in the end the container is as it should be."""
    box.estiva("create", "--name", "shared", IMAGE, "sleep", "3000")
    verbs = (["start", "shared"], ["stop", "-t", "0", "shared"], ["restart", "-t", "0", "shared"])

    def work(number):
        done = box.estiva(*verbs[number % 3], status=None)
        # a start may be told that another's stop was faster than its command
        assert done.returncode == 0 or "killed by signal 9 while starting" in done.stderr, done.stderr

    at_once(18, work)
    box.estiva("start", "shared")
    assert box.out("exec", "shared", "echo", "alive") == "alive"
    box.estiva("rm", "-f", "shared")
    assert_nothing_left(box)


PROGRAM = f"""
import threading
import estiva
errors = []
def work():
    try:
        with estiva.container({IMAGE!r}) as box:
            for _ in range(2):
                assert box.exec(["echo", "hello"]).output == "hello\\n"
        assert estiva.run({IMAGE!r}, ["echo", "hello"], network="none").output == "hello\\n"
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not errors, errors
"""


def test_programs_with_threads(box):
    at_once(4, lambda n: box.python(PROGRAM))
    eventually(lambda: box.out("ps", "-aq") == "")
    assert_nothing_left(box)


TAKER = """
import os, sys
from estiva.engine.state import locks
from estiva.paths import Paths
paths, mark = Paths(sys.argv[1] + "/root", sys.argv[1] + "/run"), sys.argv[1] + "/mark"
taken = 0
while taken < 150:
    locks.held(paths, "c")
    try:
        lock = locks.take(paths, "c")
    except BlockingIOError:
        continue
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # FileExistsError: another has the lock too
    assert locks.held(paths, "c")
    os.unlink(mark)
    if taken % 3:
        locks.leave(paths, "c")
    os.close(lock)
    taken += 1
"""


def test_a_containers_lock_is_had_by_one(tmp_path):
    """Also while its folder goes and comes again, and others look."""
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, str(tmp_path)],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        for _ in range(4)
    ]
    assert [taker.communicate(timeout=300)[1] for taker in takers] == [b""] * 4
