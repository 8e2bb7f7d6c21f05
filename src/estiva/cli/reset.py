"""`system reset`: what it would take away, a question, and the doing."""

from __future__ import annotations

import os
import sys

from estiva.cmdline.parser import FLAG, Options, UsageError, Verb
from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine import Engine


def reset(context: Context, options: Options) -> int:
    from estiva.cli.format import units
    from estiva.engine import reset as resetting

    engine = context.engine
    found = resetting.look(engine)
    force = options.flag("force")
    if not force and not os.isatty(0):
        raise UsageError("nobody can be asked here", hint="--force removes without asking")
    print("This removes", *listed(engine, found), sep="\n  - ", file=sys.stderr, flush=True)
    if not force:
        sys.stderr.write("Are you sure you want to continue? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    told = resetting.reset(engine)
    for line in told:
        print(line, file=sys.stderr)
    if all(line.startswith("kept: ") for line in told):
        print(f"Total reclaimed space: {units.size(found['bytes'])}")
        return 0
    print("hint: mend that, and run it again", file=sys.stderr)
    return 1


def listed(engine: Engine, found: dict[str, Any]) -> list[str]:
    """What a reset takes away, in words."""
    from estiva.cli.format import units

    if found["containers"] < 0:
        lines = ["all containers, images and volumes, however many: the database can't be read"]
    else:
        running = f", of which {found['running']} run" if found["running"] else ""
        lines = [
            f"{found['containers']} containers{running}, with what they have written",
            f"{found['images']} images, and the build cache",
            f"{found['volumes']} volumes with their files",
        ]
    if found["bridge"]:
        lines.append(f"the bridge {found['bridge']} and its firewall rules")
    if found["registry"]:
        lines.append(f"all that the registry in {oneline(found['registry'])} keeps")
    places = f"{oneline(engine.paths.root)} and {oneline(engine.paths.run_root)}"
    return [*lines, f"what else Estiva has in {places}; {units.size(found['bytes'])} in all"]


RESET = Verb(
    reset,
    "",
    "Remove all containers, images, volumes, networks and the state root itself",
    (("f", "force", FLAG, "", "don't ask"),),
    most=0,
    examples=(("estiva system reset", "before Estiva is uninstalled (docs/uninstall.md)"),),
)
