"""What changes a container's state: start, stop, restart, kill, pause, wait, rm, rename (cold path)."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, Verb, converted
from estiva.errors import EstivaError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

STARTS = 8  # at once: each has a process of its own that loads its modules
TIMEOUT = (
    "t",
    "time",
    INT,
    "SECONDS",
    "how long to wait before it is killed (default 10; negative: never)",
)
TIMEOUT_ALIAS = ("", "timeout", INT, "", "")
INTERVAL = ("", "interval", TEXT, "DURATION", "time between two looks (default 100ms)")
SIGNAL = ("s", "signal", TEXT, "SIGNAL", "signal to send instead of the container's own stop signal")


def _timeout(options: Options) -> int | None:
    for name in ("time", "timeout"):
        if options.given(name):
            return options.number(name)
    return None


def start(context: Context, options: Options) -> int:
    from estiva.engine.containers import start as starting

    attach, stdin = options.flag("attach"), options.flag("interactive")
    keys = ""
    if options.given("detach-keys"):
        from estiva.cli.container import foreground

        keys = foreground.detach_keys(options)
    if attach or stdin:
        if len(options.arguments) > 1:
            raise InvalidInput("you cannot start and attach multiple containers at once")
        begun = starting.again(context.engine, options.arguments[0])
        if begun is None:
            from estiva.cli.container import attach as attaching

            return attaching.attach_to(context.engine, options.arguments[0], stdin=stdin, keys=keys)
        from estiva.cli.container import foreground

        stdin = stdin and bool(begun.record["Config"].get("OpenStdin"))
        return foreground.attend(begun, stdin=stdin, detach_keys=keys)
    from estiva.engine.containers import tasks

    gate = tasks.Gate(STARTS)
    return context.together(
        options.arguments, lambda ref: gate.through(starting.starting(context.engine, ref))
    )


def stop(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    timeout, signal = _timeout(options), options.text("signal") or None
    return context.together(
        options.arguments, lambda ref: control.stopping(context.engine, ref, timeout=timeout, signal=signal)
    )


def restart(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    timeout, signal = _timeout(options), options.text("signal") or None
    return context.together(
        options.arguments,
        lambda ref: control.restarting(context.engine, ref, timeout=timeout, signal=signal),
    )


def kill(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    signal = options.text("signal", "KILL")
    return context.together(
        options.arguments, lambda ref: control.killing(context.engine, ref, signal=signal)
    )


def pause(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    return context.together(options.arguments, lambda ref: control.pausing(context.engine, ref))


def unpause(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    return context.together(options.arguments, lambda ref: control.unpausing(context.engine, ref))


def wait(context: Context, options: Options) -> int:
    from estiva.cli.context import tell
    from estiva.engine import waits
    from estiva.errors import NotFound
    from estiva.oci import units

    interval = waits.INTERVAL
    if options.given("interval"):
        text = options.text("interval")  # a number alone is of milliseconds, as with Podman
        interval = converted(INTERVAL, f"{text}ms" if text.isdigit() else text, units.duration) / 1e9
    conditions = options.many("condition") or ["not-running"]
    for condition in conditions:
        waits.check(condition)
    # all at first, so that none which ends meanwhile, and is started again or removed, is missed
    begun: list[waits.Condition | EstivaError] = []
    for ref in options.arguments:
        try:
            begun.append(waits.Condition(context.engine, ref, conditions, interval))
        except EstivaError as error:
            begun.append(error)
    status = 0
    for one in begun:
        try:
            if isinstance(one, EstivaError):
                raise one
            print(one.end(), flush=True)
        except NotFound as error:
            if options.flag("ignore"):
                print(waits.NONE, flush=True)
                continue
            tell(error)
            status = 1
        except EstivaError as error:
            tell(error)
            status = 1
    return status


def remove(context: Context, options: Options) -> int:
    from estiva.engine.containers import control

    force, volumes = options.flag("force"), options.flag("volumes")
    return context.together(
        options.arguments,
        lambda ref: control.removing(context.engine, ref, force=force, volumes=volumes),
        missing_is_fine=force,
    )


def rename(context: Context, options: Options) -> None:
    from estiva.engine.containers import control as controlling

    controlling.rename(context.engine, options.arguments[0], options.arguments[1])


START = Verb(
    start,
    "CONTAINER [CONTAINER...]",
    "Start stopped containers",
    (
        ("a", "attach", FLAG, "", "show its output and end with its exit status; also of one that runs"),
        ("i", "interactive", FLAG, "", "pass stdin on as well"),
        ("", "detach-keys", TEXT, "KEYS", "leave its terminal by these (default ctrl-p,ctrl-q)"),
    ),
    least=1,
    examples=(("estiva start -a job", "run it again and watch"),),
)
STOP = Verb(
    stop,
    "CONTAINER [CONTAINER...]",
    "Stop running containers: their stop signal, then SIGKILL",
    (SIGNAL, TIMEOUT, TIMEOUT_ALIAS),
    least=1,
    examples=(("estiva stop -t 30 web", "let it take half a minute"),),
)
RESTART = Verb(
    restart,
    "CONTAINER [CONTAINER...]",
    "Stop containers and start them again",
    (SIGNAL, TIMEOUT, TIMEOUT_ALIAS),
    least=1,
    examples=(("estiva restart web", "after its configuration changed"),),
)
KILL = Verb(
    kill,
    "CONTAINER [CONTAINER...]",
    "Send a signal to running containers",
    (("s", "signal", TEXT, "SIGNAL", "name or number (default KILL)"),),
    least=1,
    examples=(("estiva kill -s HUP web", "make it read its configuration again"),),
)
PAUSE = Verb(
    pause,
    "CONTAINER [CONTAINER...]",
    "Freeze all processes of containers",
    least=1,
    examples=(("estiva pause job", "thaw it with 'estiva unpause job'"),),
)
UNPAUSE = Verb(
    unpause,
    "CONTAINER [CONTAINER...]",
    "Thaw paused containers",
    least=1,
    examples=(("estiva unpause job", "go on where it was"),),
)
WAIT = Verb(
    wait,
    "CONTAINER [CONTAINER...]",
    "Wait until containers stop, or something else is so, and print their exit statuses",
    (
        ("", "condition", LIST, "WHAT", "healthy, running, removed, next-exit, ... (default not-running)"),
        INTERVAL,
        ("", "ignore", FLAG, "", "print -1 for one that there isn't"),
    ),
    least=1,
    examples=(
        ("estiva wait job", "prints 0 when it went well"),
        ("estiva wait --condition healthy db", "prints -1 once it is, for it has not ended"),
    ),
)
RM = Verb(
    remove,
    "CONTAINER [CONTAINER...]",
    "Remove containers",
    (
        ("f", "force", FLAG, "", "kill a running container first"),
        ("v", "volumes", FLAG, "", "remove its anonymous volumes too"),
    ),
    least=1,
    examples=(("estiva rm -f $(estiva ps -aq)", "remove them all"),),
)
RENAME = Verb(
    rename,
    "CONTAINER NAME",
    "Give a container another name",
    least=2,
    most=2,
    examples=(("estiva rename web web-old", "its id stays"),),
)
