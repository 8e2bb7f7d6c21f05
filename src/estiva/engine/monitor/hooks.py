"""Hooks of a container that the engine runs: those that CDI devices bring (runtime-spec config.md, "Hooks").

Hooks read the container's state from stdin, and find by its `bundle` a config.json whose root.path is where
the root filesystem is in the container's mount namespace. Both are made in the run folder, and go with it.
"""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.runtime.launch.hooks import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan


def _hooks(plan: Plan) -> Hooks:
    bundle = f"{plan['run_root']}/containers/{plan['id']}/bundle"
    state = {
        "ociVersion": plan["config"]["ociVersion"],
        "id": plan["id"],
        "bundle": bundle,
        "annotations": {},
    }
    hooks = Hooks(plan["config"]["hooks"], state)
    hooks.place = f"{bundle}/rootfs"
    return hooks


def prepare(plan: Plan) -> Hooks:
    """The hooks of a monitor's plan, with the bundle that they will look at."""
    hooks = _hooks(plan)
    os.makedirs(hooks.place, mode=0o700, exist_ok=True)
    config = {**plan["config"], "root": {**plan["config"]["root"], "path": hooks.place}}
    files.atomic_write(hooks.state["bundle"] + "/config.json", fastjson.dumps(config).encode(), sync=False)
    return hooks


def run(plan: Plan, kind: str, pid: int) -> None:
    """poststart or poststop: their failures change nothing (runtime-spec runtime.md, "Lifecycle")."""
    _hooks(plan).run_all(kind, pid, "running" if pid else "stopped")
