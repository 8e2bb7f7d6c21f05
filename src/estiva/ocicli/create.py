"""`create` and `run` of estiva-oci (cold path)."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, INT, TEXT, Options, Verb
from estiva.errors import InvalidInput
from estiva.ocicli import handover
from estiva.runtime import cgroup
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.lifecycle import containers, operations
from estiva.runtime.lifecycle import create as creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.ocicli.main import Context
    from estiva.ocicli.notify import Notify
    from estiva.runtime.bundle.bundle import Bundle
    from estiva.runtime.launch.clone import Init
    from estiva.runtime.lifecycle.containers import Container

_CREATE = (
    ("b", "bundle", TEXT, "DIR", "the bundle (default: the current directory)"),
    ("", "console-socket", TEXT, "PATH", "a unix socket that is sent the terminal's master"),
    ("", "pidfd-socket", TEXT, "PATH", "a unix socket that is sent a pidfd of init"),
    ("", "pid-file", TEXT, "FILE", "write the pid of init here"),
    ("", "no-pivot", FLAG, "", "chroot(2) instead of pivot_root(2), for a root on a ramdisk"),
    ("", "no-new-keyring", FLAG, "", "keep the caller's session keyring"),
    ("", "preserve-fds", INT, "N", "pass N more fds, from 3 on (besides LISTEN_FDS)"),
    ("", "no-subreaper", FLAG, "", ""),
)


def _prepare(context: Context, options: Options) -> tuple[str, Bundle, creation.Options]:
    """What `create` and `run` do alike before anything is made: first of all the fds are looked at."""
    id = containers.check_id(options.arguments[0])
    wanted = options.number("preserve-fds")
    if wanted < 0:
        raise InvalidInput(f"--preserve-fds {wanted} is not a number of fds")
    listening = handover.listen_fds()
    handover.check_fds(listening + wanted)
    bundle = bundles.load(options.text("bundle") or os.getcwd())
    for entry in (bundle.config.get("linux") or {}).get("namespaces") or ():
        if entry["type"] == "pid" and entry.get("path"):  # others see the container's init before its start
            from estiva.runtime.launch import sealed_exe

            sealed_exe.ensure()
    context.warn(bundle.warnings)
    if context.debug:
        from estiva.runtime.bundle import validate

        context.note(validate.passed_over(bundle.config.get("process") or {}))
    asked = (bundle.config.get("linux") or {}).get("resources") or {}
    if any(asked.get(part) for part in ("memory", "cpu", "blockIO", "network")):
        context.warn(cgroup.warnings(asked))
    if listening:
        handover.announce(bundle.config, listening)
    path = (bundle.config.get("linux") or {}).get("cgroupsPath")
    if context.systemd and path and len(str(path).split(":")) != 3:
        raise InvalidInput(f"linux.cgroupsPath: {path!r} is not of the form SLICE:PREFIX:NAME")
    how = creation.Options()
    how.systemd = context.systemd
    how.rootless = context.rootless
    if options.text("pidfd-socket"):
        how.pidfd = handover.fd_sender(options.text("pidfd-socket"), "--pidfd-socket")
    how.pivot = not options.flag("no-pivot")
    how.keyring = not options.flag("no-new-keyring")
    how.preserve_fds = listening + wanted
    how.cache = context.cache if (bundle.config.get("linux") or {}).get("seccomp") else ""
    return id, bundle, how


def _terminal(bundle: Bundle) -> bool:
    return bool((bundle.config.get("process") or {}).get("terminal"))


def _notify(context: Context, id: str, bundle: Bundle, how: creation.Options) -> None:
    if os.environ.get("NOTIFY_SOCKET") and bundle.config.get("process"):
        from estiva.ocicli.notify import Notify

        Notify(f"{context.root}/{id}", "").add_to(bundle.config)
        how.notify = True


def _notifying(made: Container) -> Notify | None:
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    from estiva.ocicli import notify

    return notify.of(made.directory)


def create(context: Context, options: Options) -> int:
    id, bundle, how = _prepare(context, options)
    how.console = handover.console(options.text("console-socket"), _terminal(bundle), stays=False)
    _notify(context, id, bundle, how)
    made, init = creation.create(context.root, id, bundle, how)
    _settle(made, init, options)
    init.leave()
    return 0


def _settle(made: Container, init: Init, options: Options) -> None:
    """The pid file; a container whose caller can't be told its pid is taken away again."""
    if options.text("pid-file"):
        try:
            handover.write_pid(options.text("pid-file"), init.pid)
        except BaseException:
            init.close()
            operations.delete(made, force=True)
            raise


def run(context: Context, options: Options) -> int:
    """create, start, wait, delete in one process. The exit status is the command's."""
    id, bundle, how = _prepare(context, options)
    detach = options.flag("detach")
    how.console = handover.console(options.text("console-socket"), _terminal(bundle), stays=not detach)
    how.wait_for_start = False
    _notify(context, id, bundle, how)
    if not detach:
        from estiva.ocicli import foreground

        if _terminal(bundle):
            how.console = foreground.prepare
        foreground.take_signals(subreaper=not options.flag("no-subreaper"))
    made, init = creation.create(context.root, id, bundle, how)
    try:
        _settle(made, init, options)
        notify = _notifying(made)
        init.start()
    except BaseException:
        init.close()
        context.warn(operations.delete(made, force=True))
        raise
    operations.started(made)
    if notify is not None:
        notify.forward(init.pid, aside=not detach)
    if detach:
        return 0
    status = foreground.attend(init, terminal=_terminal(bundle))
    if not options.flag("keep"):
        context.warn(operations.delete(made, force=True))
    return status


CREATE = Verb(create, "ID", "Make a container that waits for its start", _CREATE, least=1, most=1)
RUN = Verb(
    run,
    "ID",
    "Create, start, wait and delete",
    (
        *_CREATE,
        ("d", "detach", FLAG, "", "return once the command runs"),
        ("", "keep", FLAG, "", "don't delete the container when it has ended"),
    ),
    least=1,
    most=1,
)
