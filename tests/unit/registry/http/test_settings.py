"""registries.toml: mirrors, hosts with a rule of their own, limits; and that each is obeyed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from estiva.errors import InvalidInput, NotFound, Unavailable
from estiva.oci.reference import Reference
from estiva.registry import client, lookup
from estiva.registry.http.settings import Rule, Settings
from registry_support import (
    QUICK,
    Fault,
    Proxy,
    Server,
    fake_store,
    reference,
    sample,
    sha256,
    upload,
)

IMAGE = sample(31)


@pytest.fixture
def write(tmp_path, monkeypatch):
    path = tmp_path / "registries.toml"
    monkeypatch.setenv("ESTIVA_REGISTRIES", str(path))
    for name in ("CONNECT", "STALL", "ATTEMPTS", "PARALLEL", "PLAIN_HTTP", "CA"):
        monkeypatch.delenv(f"ESTIVA_REGISTRY_{name}", raising=False)
    return path.write_text


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "a/b", "1", IMAGE)
        upload(server.address, "hub/a/b", "1", IMAGE)
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


def test_the_file_says_it_all(write, tmp_path):
    write(
        'parallel = 6\nstall = 7.5\nca = "our.pem"\n'
        '[registry."docker.io"]\nmirrors = ["m.example", "c.example:5000/hub/x"]\n'
        '[registry."10.0.0.7:5000"]\nplain-http = true\n'
        '[registry."old.example"]\nverify = false\nca = "/abs/old.pem"\n'
    )
    settings = Settings.from_environment()
    assert (settings.parallel, settings.stall, settings.connect) == (6, 7.5, 10.0)
    assert settings.authority == f"{tmp_path}/our.pem"
    assert settings.rule("docker.io").mirrors == (("m.example", ""), ("c.example:5000", "hub/x"))
    assert settings.plain_http == {"10.0.0.7:5000"}
    assert settings.rule("old.example", 443) == Rule(verify=False, authority="/abs/old.pem")
    assert settings.rule("else.example") == Rule()


def test_the_environment_goes_before_the_file(write, monkeypatch):
    write("parallel = 6\nattempts = 9\n")
    monkeypatch.setenv("ESTIVA_REGISTRY_PARALLEL", "2")
    settings = Settings.from_environment()
    assert (settings.parallel, settings.attempts) == (2, 9)


def test_without_a_file_there_are_defaults(write):
    assert Settings.from_environment() == Settings()


def test_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("ESTIVA_REGISTRIES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "estiva").mkdir()
    (tmp_path / "estiva/registries.toml").write_text("parallel = 3\n")
    assert Settings.from_environment().parallel == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parallel = ", "is not valid toml"),
        ("paralel = 3", "unknown key 'paralel'"),
        ("parallel = true", "parallel is True"),
        ("parallel = -1", "parallel is -1"),
        ("ca = 3", "ca is not the path"),
        ("registry = 3", "not a table of tables"),
        ('[registry."a.example"]\nmirror = []', "unknown key 'mirror'"),
        ('[registry."https://a.example"]\n', "not a registry's host"),
        ('[registry."a.example"]\nmirrors = ["http://b.example"]', "not a registry's host"),
        ('[registry."a.example"]\nmirrors = ["b.example/UPPER"]', "not a mirror"),
        ('[registry."a.example"]\nmirrors = "b.example"', "not a list"),
        ('[registry."a.example"]\nplain-http = 1', "neither true nor false"),
    ],
)
def test_mistakes_are_named(write, tmp_path, text, said):
    write(text)
    with pytest.raises(InvalidInput, match=said) as caught:
        Settings.from_environment()
    assert str(tmp_path) in str(caught.value)


def mirrored(*mirrors, host="upstream.invalid"):
    return replace(QUICK, rules={host: Rule(mirrors=tuple(mirrors))})


def test_a_mirror_is_asked_in_place_of_the_registry(registry, store):
    settings = mirrored((registry.address, "hub"))
    image = client.pull(store, Reference.parse("upstream.invalid/a/b:1"), config=settings)
    assert image.id == sha256(IMAGE.config)
    assert store.images.names(image.id) == ["upstream.invalid/a/b:1"]


def test_a_mirror_that_fails_is_passed_over_and_its_part_kept(registry, store):
    digest = sha256(IMAGE.layers[0])
    faults = [Fault(digest, "cut", 40_000), Fault(digest, "status", 500, times=99)]
    with Proxy(registry.address, faults) as mirror, Proxy(registry.address) as upstream:
        said = []
        client.pull(
            store,
            reference(upstream.address),
            config=mirrored((mirror.address, ""), host=upstream.address),
            progress=said.append,
        )
        assert upstream.ranges(digest) == ["bytes=40000-"]
    assert any(f"mirror {mirror.address}" in event["message"] for event in said)


def test_when_all_fail_the_registrys_own_word_counts(registry, store):
    with pytest.raises(NotFound, match=f"{registry.address}/no/such:1"):
        client.pull(
            store,
            reference(registry.address, "no/such"),
            config=mirrored((registry.address, "hub"), host=registry.address),
        )
    with pytest.raises(Unavailable, match=r"upstream\.invalid"):
        client.pull(
            store,
            Reference.parse("upstream.invalid/no/such:1"),
            config=mirrored((registry.address, "hub")),
        )


def test_what_a_registry_has_under_a_name_is_asked_of_its_mirrors(registry):
    settings = mirrored((registry.address, "no/such"), (registry.address, "hub"))
    found = lookup.described(Reference.parse("upstream.invalid/a/b:1"), config=settings)
    assert found["Descriptor"]["digest"] == sha256(IMAGE.manifest)
    with pytest.raises(Unavailable, match=r"upstream\.invalid"):
        lookup.described(Reference.parse("upstream.invalid/no/such:1"), config=settings)
