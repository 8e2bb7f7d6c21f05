"""A restored container is in its cgroup in every hierarchy, and nothing but that enters a checkpoint."""

from __future__ import annotations

import json
import os
import pathlib
import signal

import pytest

import criukit
from bundle import box  # noqa: F401  (a fixture)
from criukit import IDLE, checkpoint, go, restore
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.layout import layout
from estiva.runtime.lifecycle import checkpoint as checkpointing
from estiva.runtime.lifecycle import criu_rpc
from estiva.runtime.lifecycle import restore as restoring


@pytest.fixture
def runtime(box):  # noqa: F811
    with criukit.runtime(box) as made:
        yield made


def dumped(images):
    """The cgroups of criu's image: {controllers: the paths of all directories}, as its images/cgroup.proto has it."""
    data = pathlib.Path(images, "cgroup.img").read_bytes()
    size = int.from_bytes(data[8:12], "little")  # after two magic numbers

    def below(entries, above):
        for entry in map(criu_rpc.decode, entries):
            path = f"{above}/{criu_rpc.inner(entry, 1).decode()}"
            yield path
            yield from below(entry.get(2, ()), path)

    controllers = map(criu_rpc.decode, criu_rpc.decode(data[12 : 12 + size])[2])
    return {b",".join(entry[1]).decode(): list(below(entry.get(2, ()), "")) for entry in controllers}


def places_of(pid):
    """{controllers: path} of a process: proc_pid_cgroup(5)."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def test_what_is_restored_is_in_its_cgroup_in_every_tree(runtime):
    """And so a checkpoint of it has nothing of others."""
    folder = runtime.bundle("sh", "-c", "sleep 1000 & while :; do sleep 100; done")
    go(runtime, "run", "-d", "-b", folder, "web")
    for round in range(2):
        place = f"{runtime.parent}/web"
        assert set(places_of(runtime.state("web")["pid"]).values()) == {place}
        runtime.images = f"{runtime.folder}/images{round}"
        checkpoint(runtime, "web")
        assert {path for paths in dumped(runtime.images).values() for path in paths} == {place}
        restore(runtime, "web", folder)
    pids = runtime("ps", "--format", "json", "web")
    assert len(json.loads(pids)) >= 2
    for pid in json.loads(pids):
        assert set(places_of(pid).values()) == {place}


@pytest.mark.skipif(layout().version != "v1", reason="limits hold a container in its cgroup on v2")
def test_a_process_that_was_moved_out_takes_no_other_cgroups_into_the_dump(runtime):
    others = [
        f"{mount}{runtime.parent}/others" for mount in (layout().where["pids"], layout().hybrid) if mount
    ]
    folder = runtime.bundle(*IDLE)
    go(runtime, "run", "-d", "-b", folder, "web")
    try:
        for place in others:
            os.makedirs(f"{place}/inner")
            pathlib.Path(place, "cgroup.procs").write_text(str(runtime.state("web")["pid"]))
        checkpoint(runtime, "web")
        found = dumped(runtime.images)
        assert {path for paths in found.values() for path in paths} == {f"{runtime.parent}/web"}
        assert found["memory"] and not found.get("pids")
        restore(runtime, "web", folder)
        assert set(places_of(runtime.state("web")["pid"]).values()) == {f"{runtime.parent}/web"}
    finally:
        runtime("delete", "-f", "web")
        for place in others:
            os.rmdir(f"{place}/inner")
            os.rmdir(place)


def test_a_restore_that_is_killed_leaves_nothing(runtime, monkeypatch):
    """Not even what criu has restored by then, of which nobody was told."""
    folder = runtime.bundle(*IDLE)
    go(runtime, "run", "-d", "-b", folder, "web")
    checkpoint(runtime, "web")
    monkeypatch.setenv("ESTIVA_CGROUP_PARENT", runtime.parent)
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            restoring.Init.adopt = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            how = checkpointing.Options()
            how.images = runtime.images
            restoring.restore(f"{runtime.folder}/run/oci", "web", bundles.load(folder), how, None)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    group = factory.open(f"{runtime.parent}/web")
    assert group.exists()
    runtime("delete", "--force", "web")
    assert not group.exists()
    assert not os.listdir(f"{runtime.folder}/run/oci")
