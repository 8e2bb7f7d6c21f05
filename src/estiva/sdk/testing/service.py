"""A service for a test: its container, the ports that it is reached by, and what it is waited for by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from estiva.sdk import values
from estiva.sdk.containers import container
from estiva.sdk.run_options import RunOptions
from estiva.sdk.testing import waits
from estiva.sdk.testing.ready import HOST, TIMEOUT, Service, Wait, Waiting
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from estiva.engine import Engine

    Word = str | os.PathLike[str]


@shows(RunOptions)
def service(
    image: str,
    command: str | Sequence[Word] = (),
    *,
    wait: Wait | Sequence[Wait] = (),
    timeout: float = TIMEOUT,
    url: str = "",
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractContextManager[Service]:
    """A service for the length of a with-block, on free ports of 127.0.0.1.

        with testing.service("nginx", ports=80, wait=testing.port(80)) as web:
            urllib.request.urlopen(web.url)

    Without `command` it runs the image's own. `wait` is what it is ready by, one or several, in order;
    without one, that something listens on each of its ports. Raises NotReady after `timeout` seconds or when
    it has ended. It is killed and removed at the end of the block, and with the test's process, however that
    ends. Other options are those of estiva.container; `ports` that are not numbers are published as there.
    """
    given: Any = dict(options)
    ports = given.get("ports")
    plain = ports if isinstance(ports, (list, tuple)) else [ports]
    numbers = [values.whole("a port", number, 1, 1 << 16) for number in plain if isinstance(number, int)]
    if numbers:
        given["ports"] = [f"{HOST}::{one}" if isinstance(one, int) else one for one in plain]
    wanted = [wait] if callable(wait) else list(wait) or [waits.port(number) for number in numbers]
    for one in wanted:
        values.function("wait", one)
    seconds = values.seconds(timeout)

    @contextmanager
    def block() -> Iterator[Service]:
        with container(image, command, engine=engine, **given) as box:
            made = Service(box, url)
            waiting = Waiting(made, TIMEOUT if seconds is None else seconds)
            for one in wanted:
                one(waiting)
            yield made

    return block()
