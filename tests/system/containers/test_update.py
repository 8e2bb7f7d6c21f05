"""`update`: in the kernel and in inspect at once, kept for later runs; a refused one changes nothing."""

import os

import pytest

from enginekit import ESTIVA, IMAGE, eventually, host

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture
def web(box):
    container = box.out("run", "-d", "--network", "none", "-m", "64m", IMAGE, "sleep", "600")
    yield container
    box.estiva("rm", "-f", container)


def kernel(box, container, v1, v2):
    words = ["exec", container, "cat", f"/sys/fs/cgroup/{v2 if V2 else v1}"]
    return box.out(*words)


def field(box, container, *names):
    return box.out("inspect", "-f", " ".join(f"{{{{.HostConfig.{name}}}}}" for name in names), container)


def test_a_running_one_has_the_limits_at_once_and_after_a_restart(box, web):
    done = box.estiva("update", "-m", "96m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0", web)
    assert done.stdout == f"{web}\n"
    for _ in range(2):
        assert kernel(box, web, "memory/memory.limit_in_bytes", "memory.max") == str(96 << 20)
        assert kernel(box, web, "pids/pids.max", "pids.max") == "50"
        assert kernel(box, web, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"
        assert kernel(box, web, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
        # memory and swap together stay what they were, 2 x 64m
        assert kernel(box, web, "memory/memory.memsw.limit_in_bytes", "memory.swap.max") == str(
            (32 if V2 else 128) << 20
        )
        assert field(box, web, "Memory", "MemorySwap", "PidsLimit", "CpusetCpus", "NanoCpus") == (
            f"{96 << 20} {128 << 20} 50 0 500000000"
        )
        box.estiva("restart", "-t", "0", web)


def test_a_stopped_one_has_them_when_it_starts(box):
    container = box.out("create", "--network", "none", IMAGE, "sleep", "600")
    box.estiva("update", "--pids-limit", "33", "-m", "32m", container)
    assert field(box, container, "PidsLimit", "Memory") == f"33 {32 << 20}"
    box.estiva("start", container)
    assert kernel(box, container, "pids/pids.max", "pids.max") == "33"
    assert kernel(box, container, "memory/memory.limit_in_bytes", "memory.max") == str(32 << 20)
    box.estiva("rm", "-f", container)


REFUSED = [
    (["-m", "1m"], "minimum memory limit allowed is 6MB"),
    (["-m", "200m"], "memory limit should be smaller than already set memoryswap limit"),
    (["--pids-limit", "40", "--cpuset-cpus", "4000"], "requested CPUs are not available"),
    (["--pids-limit", "40", "--blkio-weight", "3"], "range of blkio weight is from 10 to 1000"),
    (["--pids-limit", "40", "--cpu-quota", "10"], "cpu cfs quota can not be less than 1ms"),
    (["--pids-limit", "40", "--restart", "always:3"], "invalid restart policy: 'always:3'"),
    (["--pids-limit", "40", "--restart", "x"], "invalid restart policy: 'x'"),
    ([], "you must provide one or more flags when using this command"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_a_refused_value_changes_nothing(box, web, options, message):
    done = box.estiva("update", *options, web, status=1)
    assert message in done.stderr and done.stdout == ""
    assert field(box, web, "PidsLimit", "Memory") in (f"<nil> {64 << 20}", f"<no value> {64 << 20}")
    assert kernel(box, web, "pids/pids.max", "pids.max") == "2048"
    assert kernel(box, web, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)


@pytest.mark.skipif(V2, reason="cgroup v2 has no realtime limits")
@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"), reason="the kernel has none")
def test_what_the_kernel_refuses_half_way_is_undone(box, web):
    """The cgroup above has no realtime budget; shares and quota are written before that is found out."""
    words = ["update", "--cpu-shares", "300", "--cpu-quota", "7000", "--cpu-rt-runtime", "5000", web]
    assert "realtime runtime 5000 is refused by the kernel" in box.estiva(*words, status=1).stderr
    assert kernel(box, web, "cpu/cpu.shares", "") == "1024"
    assert kernel(box, web, "cpu/cpu.cfs_quota_us", "") == "-1"
    assert field(box, web, "CpuShares", "CpuQuota") == "0 0"


def test_a_limit_below_what_is_in_use_is_refused_and_kills_nobody(box):
    script = "i=0; X=xxxxxxxxxxxxxxxx; while [ $i -lt 20 ]; do X=$X$X; i=$((i+1)); done; echo ready; sleep 600; echo $X"
    container = box.out("run", "-d", "--network", "none", "-m", "128m", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in box.out("logs", container), 120)
    done = box.estiva("update", "-m", "7m", container, status=1)
    assert "is refused" in done.stderr and "in use" in done.stderr
    assert box.out("inspect", "-f", "{{.State.Status}}", container) == "running"
    assert field(box, container, "Memory") == str(128 << 20)
    box.estiva("rm", "-f", container)


def test_several_at_once_and_the_missing_told(box, web):
    done = box.estiva("update", "--pids-limit", "60", web, "nosuch", status=1)
    assert done.stdout == f"{web}\n" and "no such container: nosuch" in done.stderr
    assert field(box, web, "PidsLimit") == "60"


def test_pause_in_docker_s_words(box, web):
    assert box.out("pause", web) == web
    assert "(Paused)" in box.out("ps", "--format", "{{.Status}}")
    assert "is already paused" in box.estiva("pause", web, status=1).stderr
    assert "is paused" in box.estiva("exec", web, "true", status=1).stderr
    assert "cannot start the paused container" in box.estiva("start", web, status=1).stderr
    assert "is paused" in box.estiva("rm", web, status=1).stderr
    assert "sleep" in box.out("top", web)
    box.estiva("update", "--pids-limit", "61", web)
    assert box.out("unpause", web) == web
    assert "is not paused" in box.estiva("unpause", web, status=1).stderr
    box.estiva("exec", web, "true")
    box.estiva("pause", web)
    box.estiva("stop", "-t", "0", web)
    assert box.out("inspect", "-f", "{{.State.Status}} {{.State.Paused}}", web) == "exited false"


def test_the_python_api(box):
    code = f"""
import estiva
from estiva.errors import EstivaError
with estiva.container({IMAGE!r}, memory="64m", network="none") as box:
    box.update(memory="96m", pids_limit=64)
    used = box.stats()
    print(used["memory"]["limit"] >> 20, used["pids"]["limit"], used["memory"]["working_set"] <= used["memory"]["usage"])
    try:
        box.update(memory="1m", pids_limit=65)
    except EstivaError as error:
        print(error)
    print(box.stats()["pids"]["limit"])
    box.pause()
    print(box.inspect()["State"]["Status"])
    box.unpause()
    print(box.exec(["echo", "on"]).output.strip())
"""
    assert box.python(code).splitlines() == [
        "96 64 True",
        "minimum memory limit allowed is 6MB",
        "64",
        "paused",
        "on",
    ]


def test_an_update_just_before_the_start_counts(box):
    """Whoever starts it has looked at it before, and took its lock then."""
    code = f"""
import estiva
from estiva.engine import Engine
from estiva.engine.containers.start import with_lock
from estiva.engine.state import locks, lookup
import os
made = {box.out("create", "--network", "none", IMAGE, "true")!r}
engine = Engine()
record = lookup.resolve(engine, made)
os.spawnlp(os.P_WAIT, {ESTIVA!r}, "estiva", "--root", engine.paths.root, "--run-root", engine.paths.run_root,
    "update", "--pids-limit", "33", made)
with with_lock(engine, record, locks.take(engine.paths, made)) as begun:
    print(begun.record["HostConfig"]["PidsLimit"])
"""
    assert box.python(code).splitlines()[-1] == "33"
