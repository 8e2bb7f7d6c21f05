"""The life of a cgroup on the real kernel, whichever version is mounted."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import cgroupkit
from cgroupkit import MAKE, reap
from estiva.errors import Conflict, EngineError, EstivaError, InvalidInput, NotFound
from estiva.runtime.cgroup import Cgroup, factory, sweep, version

make = cgroupkit.make


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
    return value


def spawn(group: Cgroup, work: Callable[[], None]) -> int:
    """Run `work` in a child that is in the cgroup; returns when it is in."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            group.enter()
            os.write(writable, b"+")
            work()
            os._exit(0)
        except BaseException as error:
            os.write(writable, repr(error).encode())
        finally:
            os._exit(99)
    os.close(writable)
    said = os.read(readable, 1000)
    os.close(readable)
    assert said == b"+", said
    return pid


def sleep_long() -> None:
    time.sleep(1000)


def test_a_cgroup_is_made_in_every_hierarchy_and_removed(make: MAKE) -> None:
    group = make()
    assert group.exists()
    assert all(os.path.isdir(directory) for directory in group.directories)
    assert group.processes() == []
    group.remove()
    assert not any(os.path.exists(directory) for directory in group.directories)
    group.remove()  # gone already is fine
    with pytest.raises(NotFound):
        group.stats()
    assert group.oom_kills() == 0


def test_a_child_that_enters_is_in_it_everywhere(make: MAKE) -> None:
    group = make()
    pid = spawn(group, sleep_long)
    try:
        assert group.processes() == [pid]
        with open(f"/proc/{pid}/cgroup") as file:
            lines = file.read().split()
        # In the hybrid layout the v2 tree ("0::") is come into by clone3 only.
        outside = [line for line in lines if line.split(":", 2)[2] != group.path]
        assert len(lines) > len(outside)
        assert [line for line in outside if not (version() == "v1" and line.startswith("0::"))] == []
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid)
    group.remove()


@pytest.mark.parametrize("one_thread", [False, True])
def test_add_moves_another_process(make: MAKE, one_thread: bool) -> None:
    group = make()
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    try:
        group.add(pid, one_thread=one_thread)
        assert group.processes() == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid)
    with pytest.raises(NotFound):
        group.add(pid)


def test_enter_fd_clones_straight_into_the_v2_tree(make: MAKE) -> None:
    group = make()
    fd = group.enter_fd()
    if fd < 0:
        assert version() == "v1"
        pytest.skip("needs a v2 tree, alone or beside v1")
    namespace = pytest.importorskip("estiva.linux.namespace")
    pid, pidfd = namespace.clone3(0, cgroup_fd=fd)
    if pid == 0:
        try:
            group.enter()
            time.sleep(1000)
        finally:
            os._exit(0)
    os.close(fd)
    os.close(pidfd)
    assert wait_for(group.processes) == [pid]
    with open(f"/proc/{pid}/cgroup") as file:
        assert f"0::{group.path}\n" in file.read()
    group.kill()
    assert reap(pid) == -signal.SIGKILL
    group.remove()


def test_who_has_come_into_the_v2_tree_only_is_killed_too(make: MAKE) -> None:
    """The child of an engine that was killed while it made a container."""
    group = make()
    fd = group.enter_fd()
    if fd < 0:
        pytest.skip("needs a v2 tree, alone or beside v1")
    from estiva.linux import namespace

    pid, pidfd = namespace.clone3(0, cgroup_fd=fd)
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    os.close(fd)
    os.close(pidfd)
    assert group.processes() == [pid]
    group.kill()
    assert reap(pid) == -signal.SIGKILL
    assert group.processes() == []
    group.remove()


def test_a_cgroup_with_processes_is_not_taken_for_a_new_container(make: MAKE) -> None:
    group = make()
    pid = spawn(group, sleep_long)
    with pytest.raises(Conflict, match="has processes in it already"):
        make()
    assert group.processes() == [pid]
    group.kill()
    assert reap(pid) == -signal.SIGKILL
    make()  # empty again: it may be used


def test_kill_leaves_nothing_of_a_forking_crowd(make: MAKE) -> None:
    group = make(resources={"pids": {"limit": 60}})

    def crowd() -> None:
        # Children that fork on and on, within the limit, and ignore what can be ignored.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            try:
                if os.fork() == 0:
                    continue
            except OSError:
                pass
            time.sleep(0.001)

    pid = spawn(group, crowd)
    wait_for(lambda: len(group.processes()) > 20)
    group.kill()
    assert group.processes() == []
    reap(pid)
    group.remove()


def test_kill_and_remove_reach_the_cgroups_below(make: MAKE) -> None:
    outer = make()
    inner = factory.open(outer.path + "/a/b")
    for directory in inner.directories:
        os.makedirs(directory)
    if version() == "v1":
        from estiva.runtime.cgroup.layout import layout
        from estiva.runtime.cgroup.v1.group import fill_cpuset

        if "cpuset" in layout().where:
            fill_cpuset(layout().where["cpuset"], inner.path)
    pid = spawn(inner, sleep_long)
    assert outer.processes() == [pid]
    outer.kill()
    assert reap(pid) == -signal.SIGKILL
    outer.remove()
    assert not outer.exists() and not inner.exists()


def test_kill_works_where_nothing_can_be_frozen(make: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make()

    def fail(timeout: float = 0) -> None:
        raise EngineError("a process stays in an uninterruptible call")

    monkeypatch.setattr(group, "freeze", fail)
    monkeypatch.setattr(group, "_kill_at_once", lambda: False)
    pids = [spawn(group, sleep_long) for _ in range(3)]
    group.kill()
    assert [reap(pid) for pid in pids] == [-signal.SIGKILL] * 3
    assert group.processes() == []


@pytest.mark.parametrize("parent", ["busy", "threaded"])
def test_v2_rules_on_parents_are_told(make: MAKE, parent: str) -> None:
    """A cgroup with processes can't limit those below it; one in a threaded subtree can't hold processes."""
    if version() == "v1":
        pytest.skip("needs cgroup v2: v1 has no such rules")
    above = make(name=parent)
    if parent == "threaded":
        os.mkdir(above.directories[0] + "/child")  # makes `above` the root of a threaded subtree
        with open(above.directories[0] + "/child/cgroup.type", "w") as file:
            file.write("threaded")
    else:
        pid = spawn(above, sleep_long)
    with pytest.raises(Conflict, match="processes of its own" if parent == "busy" else "threaded"):
        make(name=f"{parent}/below", resources={"memory": {"limit": 64 << 20}})
    assert not os.path.exists(above.directories[0] + "/below")
    if parent == "busy":
        assert above.processes() == [pid]
        above.kill()
        reap(pid)


def test_freeze_stops_and_thaw_goes_on(make: MAKE) -> None:
    group = make()
    shared = mmap.mmap(-1, 4096)

    def count() -> None:
        number = 0
        while True:
            number += 1
            shared[:8] = struct.pack("Q", number)

    def value() -> int:
        return int(struct.unpack("Q", shared[:8])[0])

    pid = spawn(group, count)
    wait_for(value)
    group.freeze()
    before = value()
    time.sleep(0.05)
    assert value() == before
    group.freeze()  # twice is fine
    group.thaw()
    wait_for(lambda: value() > before)
    # What is frozen can be killed too.
    group.freeze()
    group.kill()
    assert reap(pid) == -signal.SIGKILL


def test_remove_says_who_is_in_the_way(make: MAKE) -> None:
    group = make()
    pid = spawn(group, sleep_long)
    with pytest.raises(EstivaError, match=rf"processes are in it: {pid}"):
        group.remove(timeout=0.05)
    group.kill()
    reap(pid)
    group.remove()


def test_remove_waits_for_tasks_that_are_leaving(make: MAKE) -> None:
    for turn in range(5):
        group = make(name=f"turn{turn}")
        reap(spawn(group, lambda: None))
        group.remove()
        assert not group.exists()


def test_many_processes_make_the_same_parent_at_once() -> None:
    parent = f"/estiva-test-{os.urandom(6).hex()}"
    try:
        probe = factory.create(f"{parent}/probe")
    except EstivaError as error:
        pytest.skip(f"needs cgroups that can be made: {error}")
    top = factory.open(os.path.dirname(probe.path))
    probe.remove()
    top.remove()
    try:
        start, go = os.pipe()
        said, failed = os.pipe()
        pids = []
        for index in range(8):
            pid = os.fork()
            if pid == 0:
                try:
                    os.close(go)
                    os.read(start, 1)  # all leave together, when the pipe closes
                    group = factory.create(f"{parent}/deep/{index}", {"pids": {"limit": 100}})
                    group.enter()  # fails with ENOSPC in a cpuset that nobody filled
                except BaseException as error:
                    os.write(failed, f"{index}: {error!r}, from {error.__cause__!r}\n".encode())
                finally:
                    os._exit(0)
            pids.append(pid)
        os.close(start)
        os.close(go)
        os.close(failed)
        with open(said) as errors:
            assert errors.read() == ""
        assert [reap(pid) for pid in pids] == [0] * 8
    finally:
        top.kill()
        top.remove()


def test_sweep_takes_what_is_empty_old_and_unknown(make: MAKE) -> None:
    names = ("left", "kept", "busy")
    left, kept, busy = (make(name=name) for name in names)
    pid = spawn(busy, sleep_long)
    parent = os.path.dirname(left.path)
    assert sweep(parent, {"kept"}) == []  # too young: another may be about to enter it
    time.sleep(0.06)
    removed = sweep(parent, {"kept"}, min_age=0.05)
    assert "left" in removed and "kept" not in removed and "busy" not in removed
    assert not left.exists() and kept.exists() and busy.exists()
    assert sweep(parent + "/nowhere", set()) == []
    os.kill(pid, signal.SIGKILL)
    reap(pid)


@pytest.mark.parametrize("path", ["relative", "/", "", "/a/..", "/..", "/.", "/a\nb", "/a\0b", "../x"])
def test_a_path_can_not_lead_out(path: str) -> None:
    with pytest.raises(InvalidInput):
        factory.create(path)
    with pytest.raises(InvalidInput):
        factory.open(path)


_ELSEWHERE = """
import sys
from estiva.runtime.cgroup import factory
group = factory.open(sys.argv[1])
print(group.processes(), group.occupied(), flush=True)
group.kill()
print(group.occupied())
"""


def test_who_is_of_another_pid_namespace_has_no_pid_and_kill_hits_nobody_else(make: MAKE) -> None:
    """cgroup.procs has a 0 for it, which to kill(2) is the process group of the caller."""
    group = make()
    pid = spawn(group, sleep_long)
    try:
        group.adopt(pid)  # into the v2 tree too: that of v1 leaves out whom it can't name
        group.freeze()  # v1: cgroup.kill is not enough then, and signals go out one by one
        done = subprocess.run(
            ["unshare", "--pid", "--fork", sys.executable, "-c", _ELSEWHERE, group.path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # a process group of its own, should it be hit
        )
        assert (done.returncode, done.stdout) == (0, "[] True\nFalse\n"), done
        assert os.waitpid(pid, os.WNOHANG) == (pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        group.thaw()
        reap(pid)
        raise
