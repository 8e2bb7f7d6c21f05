"""`exec`: a command in a running container (cold path)."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, UsageError, Verb
from estiva.errors import EstivaError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

NOT_STARTED = 126  # whatever kept the command from running, as docker's; 1 where it did not come to that


def execute(context: Context, options: Options) -> int:
    env: list[str] = []
    if options.given("env") or options.given("env-file"):
        from estiva.cli.options import values

        try:
            env = values.environment(options.many("env-file"), options.many("env"))
        except ValueError as error:
            raise UsageError(str(error)) from None
    tty, stdin, detach = options.flag("tty"), options.flag("interactive"), options.flag("detach")
    if tty and stdin and not detach and not os.isatty(0):
        raise InvalidInput("the input device is not a TTY", hint="leave out -t, or run it in a terminal")
    keys = ""
    if options.given("detach-keys"):
        from estiva.cli.container import foreground

        keys = foreground.detach_keys(options)
    from estiva.engine.containers import exec as engine_exec

    wanted = engine_exec.plan(
        context.engine,
        options.arguments[0],
        options.arguments[1:],
        env=env,
        user=options.text("user"),
        workdir=options.text("workdir"),
        tty=tty,
        stdin=stdin,
        privileged=options.flag("privileged"),
    )
    if detach:
        engine_exec.seal(context.engine, wanted)
        engine_exec.launch(context.engine, wanted, (-1, -1, -1)).started()
        return 0
    from estiva.cli.container import foreground

    wanted["detach_keys"] = keys
    session = engine_exec.session(context.engine, wanted, (0 if stdin else -1, 1, 2))
    try:
        return foreground.attend_exec(session, tty=tty, stdin=stdin)
    except EstivaError as error:
        if not session.started:
            error.exit_status = NOT_STARTED
        raise


EXEC = Verb(
    execute,
    "CONTAINER COMMAND [ARG...]",
    "Run a command in a running container",
    (
        ("d", "detach", FLAG, "", "leave the command running in the background"),
        ("e", "env", LIST, "K[=V]", "set a variable; K alone takes the host's value"),
        ("", "env-file", LIST, "FILE", "read variables from a file"),
        ("i", "interactive", FLAG, "", "keep stdin open"),
        ("", "privileged", FLAG, "", "give the command all capabilities"),
        ("t", "tty", FLAG, "", "give the command a terminal"),
        ("u", "user", TEXT, "USER[:GROUP]", "run as this user, by name or number"),
        ("w", "workdir", TEXT, "PATH", "working directory"),
        ("", "detach-keys", TEXT, "KEYS", "leave its terminal by these (default ctrl-p,ctrl-q)"),
    ),
    least=2,
    interspersed=False,
    examples=(
        ("estiva exec -it web sh", "a shell in the container"),
        ("estiva exec -u nobody web id", "one command as another user"),
    ),
)
