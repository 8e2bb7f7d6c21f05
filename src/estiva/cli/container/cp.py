"""The verb cp."""

from __future__ import annotations

import os
import sys

from estiva.cli.standard import Standard
from estiva.cmdline.parser import FLAG, Options, UsageError, Verb
from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def split(word: str) -> tuple[str | None, str]:
    """(container, path) of CONTAINER:PATH; (None, path) of a path of the host: one without a colon, or that
    begins with / or a dot.
    """
    container, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")):
        return None, word
    return container, path


def cp(context: Context, options: Options) -> None:
    source, target = map(split, options.arguments)
    for which, (container, path) in (("source", source), ("target", target)):
        if not path or container == "":
            raise InvalidInput(
                f"the {which} {options.arguments[which == 'target']!r} is empty", hint="CONTAINER:PATH"
            )
    if source[0] is None and target[0] is None:
        raise UsageError("one of the two must be CONTAINER:PATH")
    archive, follow = options.flag("archive"), options.flag("follow-link")
    if target[1] == "-" and target[0] is None:
        from estiva.engine.containers.cp import archive as archives

        assert source[0] is not None
        archives.pack(context.engine, source[0], source[1], Standard().output(), follow=follow)
        return
    if source[1] == "-" and source[0] is None:
        from estiva.engine.containers.cp import archive as archives

        assert target[0] is not None
        with Standard().input() as stream:
            done = archives.unpack(context.engine, target[0], target[1], stream, archive=archive)
        tell(done.left_out, done.omitted)
        return
    from estiva.engine.containers.cp import copying

    work = copying.copy(context.engine, source, target, archive=archive, follow=follow)
    tell(work.left_out, work.omitted)
    if not options.flag("quiet") and os.isatty(2):
        from estiva.cli.format import units

        where = target[1] if target[0] is None else f"{target[0]}:{target[1]}"
        print(f"Successfully copied {units.size(work.bytes, 3)} to {oneline(where)}", file=sys.stderr)


def tell(left_out: list[tuple[str, str]], omitted: int) -> None:
    """Say what did not go along."""
    from estiva.cli.context import warn

    for path, why in left_out:
        warn(f"{oneline(path)} was left out: it is {why}")
    if omitted > len(left_out):
        warn(f"{omitted - len(left_out)} more were left out")


CP = Verb(
    cp,
    "CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
    "Copy files between a container and the host, or from one container to another",
    (
        ("a", "archive", FLAG, "", "keep the owners of the source"),
        ("L", "follow-link", FLAG, "", "copy what a symlink leads to"),
        ("q", "quiet", FLAG, "", "don't say how much was copied"),
    ),
    least=2,
    most=2,
    examples=(
        ("estiva cp nginx.conf web:/etc/nginx/", "a file into a folder that is there"),
        ("estiva cp web:/var/log/. logs", "what the folder holds"),
        ("estiva cp web:/etc - | tar t", "as an archive; from one with 'cp - web:/srv < some.tar'"),
    ),
)
