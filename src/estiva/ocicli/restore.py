"""`restore` of estiva-oci: a container of the files that `checkpoint` has written."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.ocicli import foreground, handover
from estiva.ocicli.checkpoint import COMMON, common
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.lifecycle import containers, operations
from estiva.runtime.lifecycle import restore as restoring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.ocicli.main import Context


def restore(context: Context, options: Options) -> int:
    """The exit status is the command's, or 0 with --detach."""
    id = containers.check_id(options.arguments[0])
    how = common(options)
    how.systemd = context.systemd
    how.lsm_profile = options.text("lsm-profile")
    how.lsm_mount_context = options.text("lsm-mount-context")
    if options.flag("no-pivot"):
        context.warn(["--no-pivot has no effect: criu makes the root"])
    bundle = bundles.load(options.text("bundle") or os.getcwd())
    context.warn(bundle.warnings)
    detach = options.flag("detach")
    terminal = bool((bundle.config.get("process") or {}).get("terminal"))
    console = handover.console(options.text("console-socket"), terminal, stays=not detach)
    if not detach:
        if terminal:
            console = foreground.resize
        foreground.take_signals(subreaper=not options.flag("no-subreaper"))
    made, init = restoring.restore(context.root, id, bundle, how, console)
    if options.text("pid-file"):
        try:
            handover.write_pid(options.text("pid-file"), init.pid)
        except BaseException:
            operations.delete(made, force=True)
            raise
    if detach:
        return 0
    status = foreground.attend(init, terminal=terminal)
    context.warn(operations.delete(made, force=True))
    return status


RESTORE = Verb(
    restore,
    "ID",
    "Make a container of such files",
    (
        *COMMON,
        ("b", "bundle", TEXT, "DIR", "the bundle (default: the current directory)"),
        ("d", "detach", FLAG, "", "return once the container runs"),
        ("", "console-socket", TEXT, "PATH", "a unix socket that is sent the terminal's master"),
        ("", "pid-file", TEXT, "FILE", "write the pid of init here"),
        ("", "no-subreaper", FLAG, "", "leave orphans to others"),
        ("", "no-pivot", FLAG, "", ""),
        ("", "lsm-profile", TEXT, "TYPE:NAME", "the security profile to restore with"),
        ("", "lsm-mount-context", TEXT, "LABEL", "the label of mounts to restore with"),
    ),
    least=1,
    most=1,
)
