"""`mcp`: a sandbox for a program that lets a model run code, over stdin and stdout (cold path)."""

from __future__ import annotations

from estiva.cmdline.parser import INT, LIST, TEXT, Options, UsageError, Verb, converted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context

OPTIONS = (
    ("", "allow-host", LIST, "HOST:PORT", "let the sandbox reach a host"),
    ("", "cpus", TEXT, "N", "number of cpus (default 1)"),
    ("e", "env", LIST, "K=V", "set a variable"),
    ("m", "memory", TEXT, "BYTES", "memory limit (default 512m)"),
    ("", "output", TEXT, "BYTES", "most that the client is told of a command's output (default 64k)"),
    ("", "pids-limit", INT, "N", "most processes (default 256)"),
    ("", "pull", TEXT, "WHEN", "pull the image always, missing or never (default missing)"),
    ("", "time-limit", TEXT, "DURATION", "life of the sandbox (default 1h)"),
    ("", "timeout", TEXT, "DURATION", "of a command, unless the client says another (default 60s)"),
    ("v", "volume", LIST, "SRC:DST:ro", "mount a host folder or a volume, read-only"),
)
KIND = {option[1]: option for option in OPTIONS}
PLAIN = {"cpus": "cpus", "memory": "memory", "pull": "pull", "time-limit": "time_limit"}
SEVERAL = {"allow-host": "allow", "env": "env", "volume": "volumes"}


def mcp(context: Context, options: Options) -> int:
    from estiva.mcp import server, session
    from estiva.oci import units
    from estiva.sdk.engine import Engine

    wanted: dict[str, Any] = {key: options.text(name) for name, key in PLAIN.items() if options.given(name)}
    wanted.update((key, options.many(name)) for name, key in SEVERAL.items() if options.given(name))
    if options.given("pids-limit"):
        wanted["pids_limit"] = options.number("pids-limit")
    timeout, output = session.TIMEOUT, session.OUTPUT
    if options.given("timeout"):
        timeout = converted(KIND["timeout"], options.text("timeout"), units.duration) / 1e9
    if options.given("output"):
        output = converted(KIND["output"], options.text("output"), units.size)
    if not 0 < timeout <= session.LONGEST:
        raise UsageError(f"--timeout is more than 0, and {session.LONGEST:.0f}s at most")
    engine = Engine(context.root, context.run_root)
    server.serve(session.Session(engine, options.arguments[0], wanted, timeout=timeout, output=output))
    return 0


MCP = Verb(
    mcp,
    "IMAGE",
    "Serve a sandbox over the Model Context Protocol, on stdin and stdout",
    OPTIONS,
    least=1,
    most=1,
    examples=(
        ("estiva mcp python:3.13", "what a client's settings name as its command"),
        ("estiva mcp --allow-host pypi.org:443 -m 1g python:3.13", "with a way out, and more memory"),
    ),
)
