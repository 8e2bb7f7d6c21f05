"""Fixtures for pytest: `estiva`, `estiva_container`. Loaded by each run of it, so all else is on use."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from estiva.sdk.engine import Engine
    from estiva.sdk.objects.container import Container


@pytest.fixture(scope="session")
def estiva() -> Engine:
    """The engine: its containers, images, volumes, networks. See estiva.Engine."""
    from estiva.sdk.engine import Engine

    return Engine()


@pytest.fixture
def estiva_container(estiva: Engine) -> Iterator[Callable[..., Container]]:
    """A function that gives containers, which are gone when the test has ended.

        def test_it(estiva_container):
            box = estiva_container("alpine", memory="64m")
            assert box.exec("id -u").output == "0\\n"

    Its arguments are those of estiva.container.
    """
    from contextlib import ExitStack

    from estiva.sdk.containers import container

    with ExitStack() as stack:

        def begin(*words: Any, **options: Any) -> Container:
            return stack.enter_context(container(*words, **{"engine": estiva, **options}))

        yield begin
