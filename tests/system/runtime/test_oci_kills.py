"""estiva-oci killed in the middle: what `delete --force` then leaves, which is nothing."""

import contextlib
import os
import pathlib
import random
import signal
import threading
import time

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)
from enginekit import eventually
from estiva.runtime import state
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.layout import layout
from estiva.runtime.launch import container
from estiva.runtime.lifecycle import containers
from estiva.runtime.lifecycle import create as creation

pytestmark = requires_kernel
LONG = ("sleep", "1000")
MOMENTS = 40


@pytest.fixture
def ours(box):  # noqa: F811
    with ocikit.runtime(box) as made:
        yield made


def cgroups(ours):
    """The directories of the containers' cgroups, in whatever hierarchy."""
    places = [*layout().mounts, layout().hybrid]
    found = [pathlib.Path(mount + ours.parent) for mount in places if mount]
    return [str(place) for parent in found for place in parent.glob("**/*/")]


def processes(ours):
    """The pids of who is in one of them; who has ended and waits for its parent is not."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and f"{ours.parent}/" in pathlib.Path(f"/proc/{name}/cgroup").read_text():
                found.append(int(name))
        except OSError:
            continue
    return [pid for pid in found if not ocikit.gone(pid)]


def left(ours):
    states = pathlib.Path(ours.folder, "run/oci")
    return [*map(str, states.glob("*")), *cgroups(ours), *processes(ours)]


def killed_in(ours, monkeypatch, where, *, after=0, id="c", folder=None):
    """A maker that is killed when it comes to a function, or to the call of it that follows `after` others."""
    module, name = where
    real, calls = getattr(module, name), []

    def deadly(*words, **named):
        calls.append(1)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **named)

    monkeypatch.setenv("ESTIVA_CGROUP_PARENT", ours.parent)
    folder = folder or ours.bundle(*LONG)
    pid = os.fork()
    if pid == 0:
        try:
            setattr(module, name, deadly)
            creation.create(f"{ours.folder}/run/oci", id, bundles.load(folder), creation.Options())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("where", "made"),
    [
        ((os, "symlink"), False),
        ((factory, "create"), False),
        ((container, "create"), True),
        ((state, "write"), True),
    ],
    ids=["config", "name", "cgroup", "init"],
)
def test_a_create_that_dies_before_it_has_a_state(ours, monkeypatch, where, made):
    killed_in(ours, monkeypatch, where)
    assert bool(cgroups(ours)) == made
    assert os.path.exists(f"{ours.folder}/run/oci/c/config.json")
    assert "does not exist" in ours.fails("delete", "c")
    ours("delete", "--force", "c")
    assert left(ours) == []


@pytest.mark.skipif(layout().version != "v1", reason="one directory on v2")
def test_a_create_that_dies_between_two_hierarchies(ours, monkeypatch):
    from estiva.runtime.cgroup.v1 import group

    killed_in(ours, monkeypatch, (group, "_make"), after=3)
    assert len(cgroups(ours)) == 3
    ours("delete", "--force", "c")
    assert left(ours) == []


def test_a_parent_of_another_s_environment_is_known(ours, monkeypatch):
    killed_in(ours, monkeypatch, (container, "create"))
    ours("delete", "--force", "c", env={"ESTIVA_CGROUP_PARENT": "/elsewhere"})
    assert left(ours) == []


def test_the_cgroup_of_another_container_is_left_alone(ours, monkeypatch):
    """Ours would have been refused; it was killed before it knew."""

    def change(config):
        config["linux"]["cgroupsPath"] = f"{ours.parent}/shared"

    folder = ours.bundle(*LONG, change=change)
    ours("run", "-d", "-b", folder, "first")
    before = cgroups(ours)
    killed_in(ours, monkeypatch, (factory, "create"), id="second", folder=folder)
    ours("delete", "--force", "second")
    assert cgroups(ours) == before
    assert ours.state("first")["status"] == "running"


def test_delete_waits_for_a_maker_that_lives(ours):
    """What it made meanwhile is then deleted as a container, its init and its cgroup too."""
    ours("create", "-b", ours.bundle(*LONG), "c")
    directory = f"{ours.folder}/run/oci/c"
    pid = ours.state("c")["pid"]
    held = containers.lock(directory)
    os.rename(f"{directory}/state.json", f"{directory}/later")
    with ours.popen("delete", "--force", "c") as process:
        eventually(lambda: opened(process.pid, directory))  # it asks for the lock
        os.rename(f"{directory}/later", f"{directory}/state.json")
        os.close(held)
        assert process.wait() == 0
    assert left(ours) == []
    eventually(lambda: ocikit.gone(pid))


def opened(pid, path):
    """How often a process has a directory open."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/{pid}/fd/{name}") == path
    return found


def test_a_directory_that_has_another_maker_by_now_is_not_swept(tmp_path):
    """Its first one has removed it while we waited for the lock, and the id was taken anew."""
    (tmp_path / "c").mkdir()
    held = containers.lock(str(tmp_path / "c"))
    swept = []
    waiter = threading.Thread(target=lambda: swept.append(containers.sweep_half_made(str(tmp_path), "c")))
    waiter.start()
    eventually(lambda: opened("self", str(tmp_path / "c")) == 2)  # it asks for the lock
    (tmp_path / "c").rename(tmp_path / "gone")
    (tmp_path / "c").mkdir()
    os.close(held)
    waiter.join()
    assert swept == [False] and (tmp_path / "c").exists()


def test_killed_at_any_moment(ours):
    """create, start, run and delete, each at moments from its first instant to after its end."""
    dice = random.Random(8)
    folder = ours.bundle(*LONG)
    lives = {
        "create": ((), ("create", "-b", folder)),
        "start": ((("create", "-b", folder),), ("start",)),
        "run": ((), ("run", "-b", folder)),
        "delete": ((("run", "-d", "-b", folder),), ("delete", "--force")),
    }
    for moment in range(MOMENTS):
        id = f"c{moment}"
        before, verb = lives[list(lives)[moment % len(lives)]]
        for words in before:
            ours(*words, id)
        with ours.popen(*verb, id) as process:
            time.sleep(dice.uniform(0, 0.12))
            process.kill()
        ours("delete", "--force", id)
        assert eventually(lambda: left(ours) == []), (verb, id, left(ours))
