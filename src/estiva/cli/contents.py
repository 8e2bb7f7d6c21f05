"""Verbs that look into a container, or take something out: top, port, diff, export, commit."""

from __future__ import annotations

import os
import sys

from estiva.cli.parser import FLAG, LIST, TEXT, Options, Verb
from estiva.errors import InvalidInput, NotFound, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from estiva.cli.main import Context


class Output:
    """A with-block that gives the stream to write an archive to: a file, or stdout unless that is a terminal.

    A file takes its place when it is whole: after an error what was there before is there still. Devices and
    pipes are written to as they are.
    """

    def __init__(self, path: str) -> None:
        self.path = "" if path == "-" else path
        self.aside = ""

    def __enter__(self) -> BinaryIO:
        if not self.path:
            if os.isatty(1):
                raise InvalidInput("an archive is not written to a terminal", hint="use -o FILE, or redirect")
            self.stream: BinaryIO = sys.stdout.buffer
            return self.stream
        target = os.path.realpath(self.path)
        try:
            if os.path.exists(target) and not os.path.isfile(target):
                self.stream = open(target, "wb")
                return self.stream
            self.aside = f"{target}.{os.getpid()}.tmp"
            self.stream = open(self.aside, "xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
        return self.stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self.stream.flush()
                if self.aside:
                    os.rename(self.aside, os.path.realpath(self.path))
                    self.aside = ""
            elif isinstance(error, OSError) and error.filename is None:
                raise error  # a write to the stream, which knows no name
        except BrokenPipeError:
            raise
        except OSError as failed:
            raise OSError(failed.errno, failed.strerror, self.path or "stdout") from None
        finally:
            if self.aside:
                os.unlink(self.aside)
            if self.path:
                try:
                    self.stream.close()
                except OSError:
                    pass  # what could not be flushed is told already


def top(context: Context, options: Options) -> None:
    from estiva.cli import tables
    from estiva.engine import containers

    titles, rows = containers.top(context.engine, options.arguments[0], options.arguments[1:])
    print(tables.columns([titles, *rows]))


def port(context: Context, options: Options) -> None:
    from estiva.engine import containers

    wanted = "".join(options.arguments[1:2])
    if wanted and "/" not in wanted:
        wanted += "/tcp"
    found = False
    for inner, outer in containers.port(context.engine, options.arguments[0]):
        if not wanted:
            print(f"{inner} -> {outer}")
        elif wanted == inner:
            print(outer)
            found = True
    if wanted and not found:
        raise NotFound(f"no public port '{wanted}' published for {options.arguments[0]}")


def diff(context: Context, options: Options) -> None:
    if len(options.arguments) == 2:
        from estiva.cli.layers import diff as of_images

        of_images(context, options)
        return
    from estiva.engine import containers

    for kind, path in containers.diff(context.engine, options.arguments[0]):
        print(kind, oneline(path))


def export(context: Context, options: Options) -> None:
    from estiva.engine import containers

    ref = containers.resolve(context.engine, options.arguments[0])["Id"]
    with Output(options.text("output")) as stream:
        containers.export(context.engine, ref, stream)


def commit(context: Context, options: Options) -> None:
    from estiva.engine import containers

    print(
        containers.commit(
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
