"""A pull of what is here already: one HEAD, and the HTTP client isn't even loaded; all else is left to it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from estiva.engine import Engine
from estiva.engine.images import registry as image_registry
from estiva.oci.reference import Reference
from estiva.registry.http import minimal
from estiva.registry.transfer import precheck
from registry_support import SOURCE, Fault, Proxy, Server, sha256, tar_image, upload

OLD, NEW = tar_image([{"a": b"old"}], "old"), tar_image([{"a": b"new"}], "new")


@pytest.fixture
def registry(tmp_path):
    with Server(tmp_path / "registry") as server:
        upload(server.address, "app", "1", OLD)
        yield server


@pytest.fixture
def engine(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("ESTIVA_REGIST")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    made = Engine(f"{tmp_path}/root", f"{tmp_path}/run")
    yield made
    made.store.layers.unmount_all()
    made.store.close()


PROGRAM = """
import sys
from estiva.engine import Engine
from estiva.engine.images import registry
image = registry.pull(Engine(sys.argv[1], sys.argv[2]), sys.argv[3])
print(image.id, "aiohttp" in sys.modules)
"""


def test_the_client_is_not_loaded_for_nothing(registry, engine):
    with Proxy(registry.address) as proxy:
        name = f"{proxy.address}/app:1"
        assert image_registry.pull(engine, name).id == sha256(OLD.config)
        proxy.seen.clear()
        arguments = [sys.executable, "-c", PROGRAM, engine.paths.root, engine.paths.run_root, name]
        done = subprocess.run(
            arguments, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [sha256(OLD.config), "False"]
        assert [(method, path) for method, path, *_ in proxy.seen] == [("HEAD", "/v2/app/manifests/1")]


def test_what_has_changed_is_pulled(registry, engine):
    name = f"{registry.address}/app:1"
    image_registry.pull(engine, name)
    upload(registry.address, "app", "1", NEW)
    assert image_registry.pull(engine, name).id == sha256(NEW.config)


@pytest.mark.parametrize("status", [302, 401, 404, 429, 500])
def test_any_other_answer_is_the_clients_business(registry, engine, status):
    fault = Fault(
        "/manifests/1", "status", status, method="HEAD", headers={"Location": "http://127.0.0.1:1/"}
    )
    with Proxy(registry.address) as proxy:
        name = f"{proxy.address}/app:1"
        image_registry.pull(engine, name)
        proxy.faults.append(fault)
        assert precheck.unchanged(engine.store, Reference.parse(name)) is None


def test_it_asks_nobody_who_needs_more(registry, engine, monkeypatch, tmp_path):
    assert not minimal.may_ask("docker.io") and minimal.may_ask("127.0.0.1:5000")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert not minimal.may_ask("r.example") and minimal.may_ask("localhost:1")
    (tmp_path / "config/estiva").mkdir(parents=True)
    (tmp_path / "config/estiva/registries.toml").write_text("")
    assert not minimal.may_ask("127.0.0.1:5000")


def test_a_layer_that_is_gone_is_fetched_again(registry, engine):
    name = f"{registry.address}/app:1"
    image = image_registry.pull(engine, name)
    engine.store.layers.delete(image.diff_ids[0])
    assert image_registry.pull(engine, name).id == image.id
    assert engine.store.layers.has(image.diff_ids[0])
