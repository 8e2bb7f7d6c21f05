"""For tests of cgroups: a fixture that makes them and takes them away, and what is in their files.

A test module says `make = cgroupkit.make`: pytest finds fixtures by their names there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from estiva.errors import EstivaError
from estiva.runtime.cgroup import Cgroup, factory, version

MAKE = Callable[..., Cgroup]
MIB = 1 << 20


@pytest.fixture
def make() -> Iterator[MAKE]:
    parent = f"/estiva-test-{os.urandom(6).hex()}"
    made: list[Cgroup] = []

    def create(resources: dict[str, Any] | None = None, name: str = "c") -> Cgroup:
        made.append(factory.create(f"{parent}/{name}", resources))
        return made[-1]

    try:
        made.append(factory.create(f"{parent}/first"))
    except EstivaError as error:
        pytest.skip(f"needs cgroups that can be made: {error}")
    yield create
    top = factory.open(os.path.dirname(made[0].path))
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
