"""Limits on devices: which may be opened and made, and how fast a block device is read and written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from estiva.errors import EstivaError
from estiva.runtime.cgroup import Cgroup, version

MAKE = Callable[..., Cgroup]
MIB = 1 << 20


@pytest.fixture
def make() -> Iterator[MAKE]:
    parent = f"/estiva-test-{os.urandom(6).hex()}"
    made: list[Cgroup] = []

    def create(resources: dict[str, Any] | None = None, name: str = "c") -> Cgroup:
        made.append(Cgroup.create(f"{parent}/{name}", resources))
        return made[-1]

    try:
        made.append(Cgroup.create(f"{parent}/first"))
    except EstivaError as error:
        pytest.skip(f"needs cgroups that can be made: {error}")
    yield create
    top = Cgroup.open(os.path.dirname(made[0].path))
    top.kill()
    top.remove()
    assert not top.exists()


def file(group: Cgroup, v1: tuple[str, str], v2: str) -> str:
    """The path of a control file, or a skip where the machine has none of that name."""
    if version() == "v1":
        place = group.places.where.get(v1[0])
        path = f"{place}{group.path}/{v1[1]}" if place else ""
    else:
        path = f"{group.directories[0]}/{v2}"
    if not path or not os.path.exists(path):
        pytest.skip(f"needs {v1[1] if version() == 'v1' else v2}")
    return path


def value(group: Cgroup, v1: tuple[str, str], v2: str) -> str:
    with open(file(group, v1, v2)) as control:
        return control.read().strip()


def spawn(group: Cgroup, work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            group.enter()
            status = work()
        finally:
            os._exit(status)
    return pid


def reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_throttled_device_is_set(make: MAKE) -> None:
    device = os.stat("/").st_dev
    where = f"{os.major(device)}:{os.minor(device)}"
    if not os.path.exists(f"/sys/dev/block/{where}"):
        pytest.skip("needs a root filesystem on a block device")
    if os.path.exists(f"/sys/dev/block/{where}/partition"):
        with open(f"/sys/dev/block/{where}/../dev") as parent:
            where = parent.read().strip()
    major, minor = map(int, where.split(":"))
    entry = {"major": major, "minor": minor, "rate": 10 * MIB}
    group = make()
    file(group, ("blkio", "blkio.throttle.read_bps_device"), "io.max")
    group.update(
        {"blockIO": {"throttleReadBpsDevice": [entry], "throttleWriteIOPSDevice": [{**entry, "rate": 50}]}}
    )
    if version() == "v1":
        assert value(group, ("blkio", "blkio.throttle.read_bps_device"), "") == f"{where} {10 * MIB}"
        assert value(group, ("blkio", "blkio.throttle.write_iops_device"), "") == f"{where} 50"
    else:
        assert value(group, ("", ""), "io.max") == f"{where} rbps={10 * MIB} wbps=max riops=max wiops=50"
    group.update({"blockIO": {"throttleReadBpsDevice": [{**entry, "rate": 0}]}})
    assert str(10 * MIB) not in value(group, ("blkio", "blkio.throttle.read_bps_device"), "io.max")


def opens(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
        return True
    except PermissionError:
        return False


def test_device_rules_hold(make: MAKE) -> None:
    """/dev/null for reading and writing, /dev/zero for reading, nothing else; then an update takes it all
    back."""
    if os.geteuid() != 0:
        pytest.skip("needs root: device rules can't be set without")
    zero, full = os.makedev(1, 5), os.makedev(1, 7)
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"},
        {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"},
    ]
    group = make({"devices": rules})

    def look() -> int:
        base = f"/dev/shm/estiva-test-{os.getpid()}"
        made = 0
        for index, device in enumerate((os.makedev(1, 3), zero, full)):
            try:
                os.mknod(f"{base}-{index}", 0o20600, device)
                os.unlink(f"{base}-{index}")
                made |= 1 << index
            except PermissionError:
                pass
        return (
            opens("/dev/null", os.O_RDWR)
            | opens("/dev/zero", os.O_RDONLY) << 1
            | opens("/dev/zero", os.O_RDWR) << 2
            | opens("/dev/full", os.O_RDONLY) << 3
            | made << 4
        )

    assert reap(spawn(group, look)) == 0b0010011
    group.update({"devices": [{"allow": True, "access": "rwm"}]})
    assert reap(spawn(group, look)) == 0b1111111
    group.update({"devices": [{"allow": False}]})
    assert reap(spawn(group, look)) == 0
