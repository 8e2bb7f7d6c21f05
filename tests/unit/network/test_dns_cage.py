"""network/dns/cage: the filter, run as the kernel would."""

import os

import pytest

from estiva.linux import process
from estiva.network.dns import cage

MACHINE = os.uname().machine


@pytest.mark.skipif(MACHINE not in cage.MACHINES, reason="no filter on this machine")
def test_what_its_loop_needs_and_nothing_else():
    bpf = cage.program(MACHINE)
    place = cage.MACHINES[MACHINE][0]
    allowed = {both[place] for both in cage.CALLS.values() if both[place] >= 0}
    found = {number for number in range(600) if process.filter_allows(bpf, number)}
    assert found == allowed
    for number in (
        process.SYS_execveat,
        process.SYS_pidfd_getfd,
        process.SYS_seccomp,
        435,
        437,
        257 if place == 0 else 56,
    ):
        assert number not in found


def test_another_architecture_is_refused():
    other = next(name for name in cage.MACHINES if name != MACHINE)
    bpf = cage.program(other)
    assert not any(process.filter_allows(bpf, number) for number in range(600))
    assert cage.program("pdp11") == b""
