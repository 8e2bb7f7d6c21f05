"""Ansible's docker modules (community.docker) on Estiva's API, called as Ansible calls them: what is as it is asked
to be is left alone, and check mode says what would be done.

    pip install ansible docker; ./test tests/conformance/test_ansible.py
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import bundle
from apikit import IMAGE, Api, serving

MODULES = "ansible_collections.community.docker.plugins.modules"

pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("ansible_collections", "docker"))), reason="needs ansible"
    ),
]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


def play(api: Api, module: str, *, check: bool = False, **asked: Any) -> dict[str, Any]:
    """One task; what it answers."""
    arguments = pathlib.Path(api.folder, "task.json")
    asked |= {"docker_host": f"unix://{api.socket}", "_ansible_check_mode": check, "_ansible_diff": True}
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": asked}))
    words = [*api.prefix, sys.executable, "-m", f"{MODULES}.{module}", str(arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=api.folder)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def settled(api: Api, module: str, **asked: Any) -> None:
    """It would be changed, is changed, and is not changed again."""
    seen = [play(api, module, check=check, **asked) for check in (True, False, False)]
    assert [answer.get("changed") for answer in seen] == [True, True, False], (module, asked, seen)


def test_tasks_are_idempotent(api: Api) -> None:
    idle = {"name": "web", "image": IMAGE, "command": "sleep 1000", "stop_signal": "SIGKILL"}
    settled(api, "docker_network", name="lan", ipam_config=[{"subnet": "10.79.3.0/24"}], labels={"a": "b"})
    settled(api, "docker_volume", name="data", labels={"c": "d"})
    settled(api, "docker_container", **{**idle, "name": "db"})
    settled(
        api,
        "docker_container",
        **idle,
        env={"A": "1"},
        memory="64m",
        published_ports=["127.0.0.1:8099:80"],
        volumes=["data:/data"],
        networks=[{"name": "lan", "links": ["db:other"], "ipv4_address": "10.79.3.9", "aliases": ["www"]}],
        healthcheck={"test": ["CMD", "true"], "interval": "1m"},
    )
    settled(api, "docker_image_tag", name=IMAGE, repository=["other:1"])
    done = play(api, "docker_container_exec", container="web", command="sh -c 'echo $A; exit 4'")
    assert (done["rc"], done["stdout"]) == (4, "1")
    assert play(api, "docker_container_exec", container="web", command="nosuch")["rc"] == 126
    settled(api, "docker_container", name="web", state="absent")
    settled(api, "docker_container", name="db", state="absent")
    settled(api, "docker_network", name="lan", state="absent")
    settled(api, "docker_volume", name="data", state="absent")
