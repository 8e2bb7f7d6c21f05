"""The image of the reaper: this machine's Python, as much of it as program.py needs, and that.

It takes the place of testcontainers/ryuk where a client of the API asks for that and has none: nothing is
fetched, and no program of others is given the API's socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

from estiva import version
from estiva.engine.images import archive, lookup
from estiva.errors import EngineError, EstivaError, brief
from estiva.files import read_bounded
from estiva.oci.reference import Reference

if TYPE_CHECKING:
    from estiva.engine import Engine

NAME = "docker.io/testcontainers/ryuk"
LABEL = "dev.estiva.reaper"  # the version, and what the program is
PLACE = "/reaper.py"
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "program.py")
MODULES = """
import sys
exec(compile(open(sys.argv[1], "rb").read(), "reaper", "exec"), {"__name__": "reaper"})
for each in list(sys.modules.values()):
    for path in (getattr(each, "__file__", None), getattr(each, "__cached__", None)):
        if path:
            print(path)
print(next((path for path in sys.path if path.endswith("/lib-dynload")), ""))
"""


def is_name(ref: str) -> bool:
    """Whether a reference is to ryuk by a tag: who names a digest wants that very image."""
    if "testcontainers/ryuk" not in ref:
        return False
    named = Reference.parse(ref)
    return named.name == NAME and not named.digest


def here(engine: Engine, ref: str) -> str:
    """What is here by this name: "" for nothing, "others", "old" for a reaper of another version, "ours"."""
    image = lookup.find(engine, ref)
    if image is None:
        return ""
    given = (image.config.get("config") or {}).get("Labels") or {}
    if LABEL not in given:
        return "others"
    return "ours" if given[LABEL] == _mark() else "old"


def renew(engine: Engine, ref: str) -> None:
    """Make the reaper again that another version of Estiva has made. Raises what `make` does."""
    if is_name(ref) and here(engine, ref) == "old":
        make(engine, ref)


def _mark() -> str:
    return f"{version.__version__} {hashlib.sha256(read_bounded(PROGRAM, 1 << 20)).hexdigest()[:12]}"


def make(engine: Engine, ref: str, platform: str | None = None) -> str:
    """Make the image, and name it; its id. Raises NotFound, EngineError, Unsupported for a platform that is
    not this machine's."""
    python = os.path.realpath("/proc/self/exe")
    words = [python, "-I", "-S", "-B"]
    done = subprocess.run(
        [*words, "-c", MODULES, PROGRAM], capture_output=True, text=True, timeout=60, env={}
    )
    if done.returncode:
        raise EngineError(f"the reaper's image can't be made: {brief(done.stderr or python)}")
    *files, dynamic = done.stdout.splitlines()
    data = {PLACE: read_bounded(PROGRAM, 1 << 20)}
    if dynamic:
        data[f"{os.path.abspath(dynamic)}/README"] = (
            b"of the modules here only those that are used\n"  # Python looks for it
        )
    before = lookup.find(engine, ref)
    made = archive.from_host(
        engine,
        [python],
        name=ref,
        files=sorted({os.path.abspath(path) for path in files if os.path.exists(path)}),
        data=data,
        config={
            "Cmd": [*words, PLACE],
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {LABEL: _mark(), "org.testcontainers.ryuk": "true"},
        },
        platform=platform,
        created_by="estiva api: the reaper, with this machine's Python",
    )
    if before is not None and before.id != made and not lookup.names(engine, before.id):
        with contextlib.suppress(EstivaError):  # a container still has it
            lookup.remove(engine, before.id)
    return made
