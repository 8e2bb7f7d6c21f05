"""`anatomy serve`: the web page."""

from __future__ import annotations

from estiva import speech
from estiva.errors import Conflict, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context
    from estiva.cmdline.parser import Options


def serve(context: Context, options: Options) -> int:
    for name in ("json", "watch", "interval", "no-color"):
        if options.given(name):
            raise Conflict(f"conflicting options: --{name} is not for `estiva anatomy serve`")
    speech.choose("en")  # its page is
    try:
        from estiva.view.web import server
    except ImportError as error:
        raise InvalidInput(f"the web page needs the Python package {error.name}") from None

    def ready(address: str) -> None:
        print(f"serving {address} until Ctrl-C; who knows the address sees all containers", flush=True)

    server.serve(context.engine, options.text("listen") or "127.0.0.1:0", ready)
    return 0
