"""What killed processes left behind: found, ended, removed (`system check`, `system prune`)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from estiva import fastjson
from estiva.engine import life
from estiva.files import remove_tree

if TYPE_CHECKING:
    from estiva.engine import Engine


def sweep(engine: Engine) -> list[str]:
    """End and remove what killed processes left behind; what was done, in words."""
    done = []
    paths, db = engine.paths, engine.db
    for (container_id,) in db.read("SELECT id FROM containers WHERE status = 'running'"):
        if life.reconcile_if_dead(paths, db, container_id):
            done.append(f"container {container_id[:12]}: its monitor was killed; ended it")
    for container_id in os.listdir(paths.run_containers):
        if not life.held(paths, container_id) and life.reconcile(paths, db, container_id):
            done.append(f"run folder of container {container_id[:12]}: removed")
    known = {row[0] for row in db.read("SELECT id FROM containers")}
    for container_id in os.listdir(paths.containers):
        if (
            container_id not in known
            and not life.held(paths, container_id)
            and old(paths.container(container_id))
        ):
            remove_tree(paths.container(container_id))
            done.append(f"folder of container {container_id[:12]}: removed")
    for name in os.listdir(paths.run_names):
        target = os.readlink(f"{paths.run_names}/{name}")
        if not life.held(paths, target):
            life.unlink_name(paths.run_root, name, target)
            done.append(f"link of container name {name}: removed")
    return done


def old(path: str, seconds: float = 10) -> bool:
    """Whether a folder is older than a container needs between its folder and its row."""
    try:
        return time.time() - os.stat(path).st_mtime > seconds
    except FileNotFoundError:
        return False


def check(engine: Engine) -> list[str]:
    """What is wrong with the containers' state, in words; empty when all is well."""
    problems = []
    for container_id, status, text in engine.db.read("SELECT id, status, record FROM containers"):
        record = fastjson.loads(text, what=f"the record of container {container_id[:12]}")
        if not os.path.isdir(engine.paths.container(container_id) + "/upper"):
            problems.append(f"container {container_id[:12]} has no read-write layer")
        if status == "running" and not life.held(engine.paths, container_id):
            problems.append(f"container {container_id[:12]} is said to run but does not")
        if record["Image"] and not engine.db.read("SELECT 1 FROM images WHERE id = ?", (record["Image"],)):
            problems.append(f"container {container_id[:12]} has lost its image {record['Image'][:19]}")
    return problems
