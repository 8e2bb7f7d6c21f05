"""What the containers of a Python program want, loaded at once.

A fork while another thread imports something would leave the child with a module that is half there and
locked for ever. The package's own loading is what a fork waits for (estiva/__init__.py); so all that a start,
an exec or a copy loads in the function that needs it is loaded there already.
"""

from __future__ import annotations

import subprocess  # noqa: F401

from estiva.engine.containers import (  # noqa: F401
    changes,
    control,
    create,
    exec,
    inspect,
    stats,
    update,
)
from estiva.engine.containers.cp import program  # noqa: F401
from estiva.engine.launch import forks, ledger, reserve, spawner  # noqa: F401
from estiva.engine.mounts import chown, volume_copy  # noqa: F401
from estiva.engine.spec import cdi, namespaces, ports, resources, userns  # noqa: F401
from estiva.network import ipam, resolvconf  # noqa: F401
from estiva.oci import platform, reference  # noqa: F401
from estiva.runtime import cgroup
from estiva.runtime.cgroup import factory  # noqa: F401
from estiva.store import content, database, images, lock_holder, schema, snapshots, volumes  # noqa: F401
from estiva.store.layers import layers  # noqa: F401

cgroup.preload()
