"""Limits on devices: which may be opened and made, and how fast a block device is read and written."""

from __future__ import annotations

import os

import pytest

import cgroupkit
from cgroupkit import MAKE, MIB, file, reap, spawn, value
from estiva.linux import bpf
from estiva.runtime.cgroup import version
from estiva.runtime.cgroup.devices import program
from estiva.runtime.cgroup.layout import layout

make = cgroupkit.make


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


def test_device_programs_come_and_go_by_the_kernel(make: MAKE) -> None:
    """Also where v1 does the work: the v2 tree of the hybrid layout takes programs."""
    root = layout().hybrid if version() == "v1" else layout().mounts[0]
    if not root:
        pytest.skip("needs a v2 tree")
    fd = os.open(root + make().path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = bpf.attached_device_programs(fd)
        loaded = bpf.load_device_program(
            program([{"allow": False}, {"allow": True, "type": "c", "major": 1}])
        )
        assert not os.get_inheritable(loaded)
        bpf.attach_device_program(fd, loaded)
        os.close(loaded)
        (mine,) = set(bpf.attached_device_programs(fd)) - set(before)
        bpf.detach_device_program(fd, mine)
        assert bpf.attached_device_programs(fd) == before
        with pytest.raises(OSError):
            bpf.load_device_program(b"\0" * 8)
    finally:
        os.close(fd)
