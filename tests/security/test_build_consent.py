"""K23: what widens a build is the caller's to allow, not a Dockerfile's, nor a base image's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from enginekit import IMAGE, host
from estiva.errors import EstivaError, InvalidInput

WIDER = {"--network=host": "network.host", "--security=insecure": "security.insecure"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def refused(lab: Lab, text: str, message: str, hint: str, **options: object) -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(text, **options)
    assert message in caught.value.message and caught.value.hint == hint
    assert lab.steps == []


@pytest.mark.parametrize("flag", WIDER)
def test_a_run_asks_for_what_is_not_allowed(lab: Lab, flag: str) -> None:
    others = [name for name in WIDER.values() if name != WIDER[flag]]
    for options in ({}, {"network": "none"}, {"allow": others}):
        refused(
            lab,
            f"FROM box\nRUN {flag} true\n",
            f"Dockerfile:2: RUN {flag} is not allowed",
            f"allow it with: --allow {WIDER[flag]}",
            **options,
        )
    lab.build(f"FROM box\nRUN {flag} true\n", allow=[WIDER[flag]])
    assert lab.steps[0].network == "host" or lab.steps[0].privileged
    refused(  # not from the cache either
        lab, f"FROM box\nRUN {flag} true\n", "is not allowed", f"allow it with: --allow {WIDER[flag]}"
    )


@pytest.mark.parametrize("flag", WIDER)
def test_a_base_image_asks_for_it(lab: Lab, flag: str) -> None:
    base = lab.build(f"FROM box\nONBUILD RUN {flag} true\n")
    lab.store.images.tag(base.id, "base")
    refused(
        lab,
        "FROM base\n",
        f"Dockerfile:1: RUN {flag} is not allowed",
        f"allow it with: --allow {WIDER[flag]}",
    )


@pytest.mark.parametrize("flag", WIDER)
def test_it_is_refused_before_anything_is_done(lab: Lab, flag: str) -> None:
    hint = f"allow it with: --allow {WIDER[flag]}"
    asks = f"RUN true\nRUN {flag} true\n"
    refused(lab, f"FROM box\n{asks}", f"Dockerfile:3: RUN {flag} is not allowed", hint)
    refused(lab, f"FROM nothing-here\n{asks}", f"Dockerfile:3: RUN {flag} is not allowed", hint)
    refused(
        lab,
        f"FROM box\nRUN true\nFROM box AS b\n{asks}FROM box\nCOPY --from=b /bin /b\n",
        "Dockerfile:5: RUN",
        hint,
    )
    base = lab.build(f"FROM box\nONBUILD RUN true\nONBUILD RUN {flag} true\n")
    lab.store.images.tag(base.id, "base")
    refused(lab, "FROM base\n", f"Dockerfile:1: RUN {flag} is not allowed", hint)
    lab.build(f"FROM box AS other\n{asks}FROM box\nRUN true\n")  # a stage that is not needed asks for nothing
    assert len(lab.steps) == 1


def test_no_run_goes_beyond_the_networks_none(lab: Lab) -> None:
    base = lab.build("FROM box\nONBUILD RUN --network=default true 1\nONBUILD RUN --network=host true 2\n")
    lab.store.images.tag(base.id, "base")
    text = "FROM base\nRUN true 3\nRUN --network=default true 4\nRUN --network=host true 5\n"
    lab.build(text, network="none", allow=["network.host"])
    assert [step.network for step in lab.steps] == ["none"] * 5


def test_the_callers_own_network_is_allowed(lab: Lab) -> None:
    lab.build("FROM box\nRUN true\nRUN --network=host true 2\nRUN --network=none true 3\n", network="host")
    assert [step.network for step in lab.steps] == ["host", "host", "none"]


def test_add_fetches_nothing_without_a_network(lab: Lab) -> None:
    url = "http://127.0.0.1:1/f"
    message, hint = f"ADD can't fetch {url}: the build has no network", "leave out --network none"
    refused(lab, f"FROM box\nADD {url} /f\n", f"Dockerfile:2: {message}", hint, network="none")
    base = lab.build(f"FROM box\nONBUILD ADD {url} /f\n", network="none")
    lab.store.images.tag(base.id, "base")
    refused(lab, "FROM base\n", f"Dockerfile:1: {message}", hint, network="none")


@pytest.mark.parametrize("options", [{"allow": ["network"]}, {"allow": ["all"]}, {"network": "container:x"}])
def test_what_can_not_be_allowed(lab: Lab, options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        lab.build("FROM box\n", **options)


def test_the_command_line(tmp_path: Path) -> None:
    with host() as engine:
        (tmp_path / "Dockerfile").write_text(
            f"FROM {IMAGE}\nRUN --network=host readlink /proc/self/ns/net > /net\n"
        )
        done = engine.estiva("build", tmp_path, status=None)
        assert done.returncode != 0
        assert "Dockerfile:2: RUN --network=host is not allowed" in done.stderr
        assert "--allow network.host" in done.stderr
        engine.out("build", "-q", "--allow", "network.host", tmp_path)
