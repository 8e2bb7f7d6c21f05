"""`anatomy`: what a container or an image is made of, as text, in colour, as JSON, again and again."""

from __future__ import annotations

import os
import sys
import time

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import Conflict, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context
    from estiva.view.shapes import Anatomy

INTERVAL = 1.0  # seconds between two looks of --watch


def anatomy(context: Context, options: Options) -> int:
    if options.flag("json") and options.flag("watch"):
        raise Conflict("conflicting options: --json and --watch")
    if options.arguments[0] == "serve":
        from estiva.cli.explain import serve

        return serve.serve(context, options)
    if options.given("listen"):
        raise InvalidInput("--listen is for `estiva anatomy serve`")
    if options.given("interval") and not options.flag("watch"):
        raise InvalidInput("--interval is for --watch")
    from estiva import speech
    from estiva.view import anatomy as looking

    ref = options.arguments[0]
    if options.flag("json"):
        speech.choose("en")  # for programs
        print(text_of(looking.of(context.engine, ref)))
        return 0
    colour = os.isatty(1) and not options.flag("no-color") and not os.environ.get("NO_COLOR")
    if os.environ.get("TERM") == "dumb":
        colour = False
    if not options.flag("watch"):
        show(looking.of(context.engine, ref), colour)
        return 0
    return _watch(context, ref, _seconds(options), colour)


def text_of(body: Anatomy) -> str:
    """As one line of JSON."""
    import dataclasses

    from estiva import fastjson

    return fastjson.dumps(dataclasses.asdict(body))


def show(body: Anatomy, colour: bool) -> None:
    if colour:
        from estiva.cli.explain import colours

        colours.show(body)
        return
    from estiva.view import words

    sys.stdout.write(words.plain(body))


def _seconds(options: Options) -> float:
    word = options.text("interval") or str(INTERVAL)
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise InvalidInput(f"invalid --interval: {word!r}", hint="seconds, from 0.1 to 3600")
    return seconds


def _watch(context: Context, ref: str, seconds: float, colour: bool) -> int:
    """Until Ctrl-C, or until there is nothing to be seen any more."""
    from estiva.view import anatomy as looking

    body = looking.of(context.engine, ref)
    ref = body.id  # a name may pass to another meanwhile
    if colour:
        from estiva.cli.explain import colours

        colours.watch(lambda: looking.of(context.engine, ref), seconds)
        return 0
    from estiva.view import words

    while True:
        sys.stdout.write(words.plain(body) + "\n")
        sys.stdout.flush()
        time.sleep(seconds)
        body = looking.of(context.engine, ref)


ANATOMY = Verb(
    anatomy,
    "CONTAINER | IMAGE | serve",
    "Show what a container or an image is made of: processes, namespaces, network, limits, mounts, layers",
    (
        ("", "json", FLAG, "", "as one JSON object (docs/anatomy.md)"),
        ("w", "watch", FLAG, "", "look again every second, until Ctrl-C"),
        ("", "interval", TEXT, "SECONDS", "how long --watch waits between two looks (default 1)"),
        ("", "no-color", FLAG, "", "plain text, as in a pipe"),
        ("", "listen", TEXT, "ADDRESS:PORT", "of serve: where on loopback (default 127.0.0.1, a free port)"),
    ),
    least=1,
    most=1,
    examples=(
        ("estiva anatomy web", "all that there is of it"),
        ("estiva anatomy --json web", "for a program"),
        ("estiva anatomy --watch web", "what changes, each second"),
        ("estiva anatomy serve", "the same as a web page on this machine"),
    ),
)
