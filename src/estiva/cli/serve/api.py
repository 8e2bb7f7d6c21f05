"""`estiva api`: serve the Docker Engine API."""

from __future__ import annotations

from estiva.cmdline.parser import LIST, Options, Verb
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

SOCKET = "unix:///run/estiva/docker.sock"


def serve(context: Context, options: Options) -> int:
    from estiva.engine import Engine

    try:
        from estiva.api import server
    except ImportError as error:
        raise InvalidInput(f"the API needs the Python package {error.name}") from None

    def ready(address: str) -> None:
        print(f"serving the Docker Engine API on {address}", flush=True)

    engine = Engine(context.root, context.run_root)  # whose monitors are forked by the spawner, not from here
    server.serve(engine, options.many("listen") or [SOCKET], ready=ready)
    return 0


SERVE = Verb(
    serve,
    "",
    "Serve the Docker Engine API, for docker's own client, compose and libraries",
    (("", "listen", LIST, "ADDRESS", f"unix://PATH, tcp://HOST:PORT or fd:// (default {SOCKET})"),),
    most=0,
    examples=(("DOCKER_HOST=unix:///run/estiva/docker.sock docker ps", "docker's client, on Estiva"),),
)
