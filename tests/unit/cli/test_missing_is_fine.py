"""`rm -f` and `rmi -f` pass over a name that nothing has, as docker's do, and over nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from estiva.cli.context import Context
from estiva.cli.image import images
from estiva.engine import Engine
from estiva.engine.images import lookup
from estiva.errors import EstivaError, Missing, NotFound

ERRORS = [
    (Missing("container", "nope"), 0),
    (Missing("container", "another"), 1),
    (NotFound("no such blob: nope"), 1),
]


class Given:
    """What `rmi` asks of its options."""

    arguments = ("nope",)

    def __init__(self, force: bool) -> None:
        self.force = force

    def flag(self, name: str) -> bool:
        return self.force


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_of_containers(
    engine: Engine, error: EstivaError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(word: str) -> Iterator[None]:
        yield
        raise error

    context = Context.__new__(Context)
    assert context.together(["nope"], task, missing_is_fine=True) == status
    assert context.together(["nope"], task) == 1
    assert capsys.readouterr().err.startswith(f"estiva: {error}\n")


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_of_images(engine: Engine, error: EstivaError, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(*_: object, **__: object) -> list[str]:
        raise error

    monkeypatch.setattr(lookup, "remove", remove)
    context = Context.__new__(Context)
    context._engine = engine
    assert images.rmi(context, Given(force=True)) == status  # type: ignore[arg-type]
    assert images.rmi(context, Given(force=False)) == 1  # type: ignore[arg-type]


def test_what_is_raised_for_them(engine: Engine) -> None:
    from estiva.engine.containers import control

    for name in ("nope", "ab\x1bc"):
        with pytest.raises(Missing) as caught:
            control.remove(engine, name, force=True)
        assert caught.value.name == name and "\x1b" not in str(caught.value)
    with pytest.raises(Missing) as caught:
        lookup.remove(engine, "nope", force=True)
    assert caught.value.name == "nope"


@pytest.fixture
def engine(tmp_path: object) -> Engine:
    return Engine(f"{tmp_path}/root", f"{tmp_path}/run")
