"""`mcp`: a sandbox for a program that lets a model run code, over stdin and stdout (cold path).

The command line reads the options; what serves is a Python program as anybody's (sdk/mcp), which this process
becomes.
"""

from __future__ import annotations

import os
import sys

from estiva import fastjson
from estiva.cmdline.parser import INT, LIST, TEXT, Options, UsageError, Verb, converted
from estiva.files import write_all

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
TIMEOUT, LONGEST = 60.0, 600.0  # seconds of a command: if nothing is said, and at most
OUTPUT = 64 << 10  # bytes of each of stdout and stderr that a client is told
RUN = (
    "import json, sys; asked = json.load(open(int(sys.argv[1]))); sys.path[:] = asked.pop('path'); "
    "from estiva.sdk.mcp import server; server.main(asked)"
)
KIND = {option[1]: option for option in OPTIONS}
PLAIN = {"cpus": "cpus", "memory": "memory", "pull": "pull", "time-limit": "time_limit"}
SEVERAL = {"allow-host": "allow", "env": "env", "volume": "volumes"}


def mcp(context: Context, options: Options) -> int:
    from estiva.oci import units

    wanted: dict[str, Any] = {key: options.text(name) for name, key in PLAIN.items() if options.given(name)}
    wanted.update((key, options.many(name)) for name, key in SEVERAL.items() if options.given(name))
    if options.given("pids-limit"):
        wanted["pids_limit"] = options.number("pids-limit")
    timeout, output = TIMEOUT, OUTPUT
    if options.given("timeout"):
        timeout = converted(KIND["timeout"], options.text("timeout"), units.duration) / 1e9
    if options.given("output"):
        output = converted(KIND["output"], options.text("output"), units.size)
    if not 0 < timeout <= LONGEST:
        raise UsageError(f"--timeout is more than 0, and {LONGEST:.0f}s at most")
    asked = {"image": options.arguments[0], "options": wanted, "timeout": timeout, "output": output}
    become({**asked, "root": context.root, "run_root": context.run_root})
    return 1


def become(asked: dict[str, Any]) -> None:
    """Become the program that serves what was `asked` for, which goes by a memfd: it may hold secrets."""
    memory = os.memfd_create("mcp", 0)
    write_all(memory, fastjson.dumps({**asked, "path": sys.path}).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", RUN, str(memory)], dict(os.environ))


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
