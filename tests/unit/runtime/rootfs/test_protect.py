"""Which sysctls are a container's."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.rootfs import protect


def test_a_sysctl_of_a_shared_namespace_is_refused() -> None:
    with pytest.raises(InvalidInput, match="while the network namespace is the host's"):
        protect.plan_sysctls({"net.core.somaxconn": "1"}, {"ipc"})


def test_sysctl_names() -> None:
    names = {
        "net.ipv4.conf.eth0/1.forwarding": "1",
        "net/ipv4/conf/eth0.1/forwarding": "1",
        "kernel.sem": "1",
    }
    paths = [path for path, _ in protect.plan_sysctls(names, {"network", "ipc"})]
    assert paths == ["net/ipv4/conf/eth0.1/forwarding"] * 2 + ["kernel/sem"]
