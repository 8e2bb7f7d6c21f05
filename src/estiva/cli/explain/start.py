"""`run --explain`: the start that happens, told on stderr step by step once the command runs, or fails."""

from __future__ import annotations

import sys

from estiva.errors import InvalidInput
from estiva.view import start as starts
from estiva.view.recording import Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.cli.context import Context
    from estiva.cmdline.parser import Options
    from estiva.view.start import Did


def run(context: Context, options: Options, verb: Callable[[Context, Options], int]) -> int:
    """Do the verb as it would be done without, and tell how. Raises InvalidInput, and what the verb does."""
    form = options.text("explain")
    if form not in ("true", "json"):
        raise InvalidInput(f"invalid --explain: {form!r}", hint="--explain, or --explain=json")
    del options.values["explain"]
    recording = Recording(_json if form == "json" else _text)
    try:
        return verb(context, options)
    finally:
        recording.finish()


def _text(_: str, done: tuple[Did, ...]) -> None:
    _say("".join(f"{line}\n" for line in starts.lines(done)))


def _json(container_id: str, done: tuple[Did, ...]) -> None:
    import dataclasses

    from estiva import fastjson

    steps = [dataclasses.asdict(each) for each in done]
    _say(fastjson.dumps({"container": container_id, "steps": steps}) + "\n")


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()
