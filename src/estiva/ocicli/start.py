"""`start` of estiva-oci (cold path): it loads nothing of what makes containers."""

from __future__ import annotations

import os

from estiva.cmdline.parser import Options, Verb
from estiva.runtime.lifecycle import containers, operations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.ocicli.main import Context


def start(context: Context, options: Options) -> int:
    made = containers.load(context.root, options.arguments[0])
    told = None
    if os.environ.get("NOTIFY_SOCKET"):
        from estiva.ocicli import notify

        told = notify.of(made.directory)
    operations.start(made)
    if told is not None:
        told.forward(made.pid)
    return 0


START = Verb(start, "ID", "Run the command of a created container", (), least=1, most=1)
