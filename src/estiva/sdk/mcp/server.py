"""The Model Context Protocol over stdin and stdout, by the package `mcp`: one client, one session.

The client's end is the end of stdin: then this process ends, and with it the box, whatever a tool is doing.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from typing import TYPE_CHECKING, Any

from estiva.errors import EstivaError, Unsupported
from estiva.sdk.engine import Engine
from estiva.sdk.mcp.session import Session, begun
from estiva.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INSTRUCTIONS = """One Linux sandbox of your own, from the image {image}. Files stay between calls, in the
working folder (relative paths) and in /tmp; all else is read-only. Network: {network}. Limits: {limits}.
Everything goes when you leave."""


def main(asked: dict[str, Any]) -> NoReturn:
    """The whole life of the process."""
    status = 0
    try:
        engine = Engine(asked["root"], asked["run_root"])
        serve(
            Session(
                engine, asked["image"], asked["options"], timeout=asked["timeout"], output=asked["output"]
            )
        )
    except EstivaError as error:
        print(f"estiva: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    finally:
        sys.stderr.flush()
        os._exit(status)  # whatever threads still wait for


def serve(session: Session) -> None:
    """Until the client goes. Raises Unsupported without the package."""
    try:
        import anyio
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise Unsupported(
            f"the Python package mcp is not there, or not version 2: {error}",
            hint="pip install 'estiva[mcp]'",
        ) from None

    def tool(name: str) -> Callable[..., Any]:
        method = getattr(session, name)

        @functools.wraps(method)
        async def call(**arguments: Any) -> Any:
            task = asyncio.ensure_future(method(**arguments))
            try:
                return await asyncio.shield(task)
            except EstivaError as error:
                hint = f" ({error.hint})" if error.hint else ""
                raise ToolError(f"{error.message}{hint}") from None
            except asyncio.CancelledError:  # of the client's, or it has gone
                task.cancel()
                with anyio.CancelScope(shield=True):  # anyio's cancellations come again and again
                    await asyncio.wait([task])
                raise

        return call

    server: Any = MCPServer(
        "estiva", instructions=_instructions(session), version=__version__, log_level="ERROR"
    )
    for name in session.TOOLS:
        text = " ".join((getattr(session, name).__doc__ or "").split())
        server.add_tool(tool(name), name=name, description=text)

    async def until_it_goes() -> None:
        async with begun(session):
            await server.run_stdio_async()

    asyncio.run(until_it_goes())


def _instructions(session: Session) -> str:
    allowed = session.options.get("allow")
    limits = [f"{session.timeout:g} seconds a command unless you ask for more (600 at most)"]
    limits.append(f"{session.output} bytes of output are told")
    limits += [
        f"{key} {value}" for key, value in session.options.items() if key not in ("allow", "volumes", "env")
    ]
    return INSTRUCTIONS.format(
        image=session.image,
        network=f"{', '.join(allowed)} only" if allowed else "none",
        limits="; ".join(limits),
    )
