"""Verbs that look into a container, or take something out: top, port, diff, export, commit."""

from __future__ import annotations

from estiva.cli.standard import Standard
from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, Verb
from estiva.engine.images.outfile import Output
from estiva.errors import NotFound, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def top(context: Context, options: Options) -> None:
    from estiva.cli.format import tables
    from estiva.engine.containers import inspect

    titles, rows = inspect.top(context.engine, options.arguments[0], options.arguments[1:])
    print(tables.columns([titles, *rows]))


def port(context: Context, options: Options) -> None:
    from estiva.engine.containers import inspect

    wanted = "".join(options.arguments[1:2])
    if wanted and "/" not in wanted:
        wanted += "/tcp"
    found = False
    for inner, outer in inspect.port(context.engine, options.arguments[0]):
        if not wanted:
            print(f"{inner} -> {outer}")
        elif wanted == inner:
            print(outer)
            found = True
    if wanted and not found:
        raise NotFound(f"no public port '{wanted}' published for {options.arguments[0]}")


def diff(context: Context, options: Options) -> None:
    if len(options.arguments) == 2:
        from estiva.cli.image.layers import diff as of_images

        of_images(context, options)
        return
    from estiva.engine.containers import changes

    for kind, path in changes.diff(context.engine, options.arguments[0]):
        print(kind, oneline(path))


def export(context: Context, options: Options) -> None:
    from estiva.engine.containers import changes
    from estiva.engine.state import lookup

    ref = lookup.resolve(context.engine, options.arguments[0])["Id"]
    with Output(options.text("output"), Standard()) as stream:
        changes.export(context.engine, ref, stream)


def commit(context: Context, options: Options) -> None:
    import signal
    import sys

    from estiva.engine.containers import changes

    # who ends it is not to leave the container frozen
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    print(
        changes.commit(
            context.engine,
            options.arguments[0],
            options.arguments[1] if len(options.arguments) > 1 else None,
            author=options.text("author"),
            message=options.text("message"),
            changes=options.many("change"),
            pause=options.flag("pause", True),
        )
    )


TOP = Verb(
    top,
    "CONTAINER [PS OPTIONS]",
    "Show the processes of a container",
    least=1,
    interspersed=False,
    examples=(("estiva top web -o pid,rss,args", "with columns of ps"),),
)
PORT = Verb(
    port,
    "CONTAINER [PORT[/PROTO]]",
    "Show the published ports of a container",
    least=1,
    most=2,
    examples=(("estiva port web 80", "where the container's port 80 is reached"),),
)
DIFF = Verb(
    diff,
    "CONTAINER | IMAGE IMAGE",
    "Show what a container, or the second of two images, has added (A), changed (C) and deleted (D)",
    (("", "format", TEXT, "json", "of two images: one object with three lists of paths"),),
    least=1,
    most=2,
    examples=(
        ("estiva diff web", "a container compared with its image"),
        ("estiva diff web:1 web:2", "two images"),
    ),
)
EXPORT = Verb(
    export,
    "CONTAINER",
    "Write a container's filesystem as a tar archive",
    (("o", "output", TEXT, "FILE", "write to a file instead of stdout"),),
    least=1,
    most=1,
    examples=(("estiva export -o web.tar web", "without what is mounted in it"),),
)
COMMIT = Verb(
    commit,
    "CONTAINER [REPOSITORY[:TAG]]",
    "Make an image from what a container has changed",
    (
        ("a", "author", TEXT, "NAME", "who made it"),
        ("c", "change", LIST, "INSTRUCTION", "apply a Dockerfile instruction, such as 'CMD [\"sh\"]'"),
        ("m", "message", TEXT, "TEXT", "what was changed"),
        ("p", "pause", FLAG, "", "freeze the container meanwhile (default true)"),
    ),
    least=1,
    most=2,
    examples=(("estiva commit -c 'ENV MODE=prod' web web:fixed", "a new tag"),),
)
