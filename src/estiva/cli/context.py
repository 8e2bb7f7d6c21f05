"""What a verb works with, and how verbs for several objects do and tell what they do."""

from __future__ import annotations

import sys

from estiva import errors
from estiva.cmdline.parser import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from estiva.cmdline.parser import Options
    from estiva.engine import Engine


FORMAT_IGNORED = "Ignoring custom format, because both --format and --quiet are set."


class Context:
    """What a verb works with: the global options and the engine, opened on first use."""

    def __init__(self, root: str | None = None, run_root: str | None = None, debug: bool = False) -> None:
        self.root = root
        self.run_root = run_root
        self.debug = debug
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            from estiva.engine import Engine

            self._engine = Engine(self.root, self.run_root, direct=True)
        return self._engine

    def tell_mended(self) -> None:
        """Say what was damaged and has been made or fetched again."""
        for line in self._engine.mended() if self._engine is not None else ():
            warn(line)

    def each(
        self, words: Iterable[str], action: Callable[[str], object], *, missing_is_fine: bool = False
    ) -> int:
        """Do `action` for every word and print the word; an error is told and the rest still done."""

        def task(word: str) -> Iterator[None]:
            action(word)
            return
            yield

        return self.together(words, task, missing_is_fine=missing_is_fine)

    def together(
        self, words: Iterable[str], task: Callable[[str], Iterator[None]], *, missing_is_fine: bool = False
    ) -> int:
        """As `each`, with a task for every word (engine/containers/tasks.py): all at once, told in order."""
        from estiva.engine.containers import tasks

        words = list(words)
        ended: list[str] = []

        def when_free(index: int, word: str) -> Iterator[None]:
            while ended.count(word) < words[:index].count(word):
                yield  # what is named twice is done twice, one after the other
            try:
                yield from task(word)
            finally:
                ended.append(word)

        status = 0
        errors_of = tasks.together([when_free(*item) for item in enumerate(words)])
        for word, error in zip(words, errors_of, strict=True):
            if error is None:
                print(word)
                continue
            tell(error)
            if not (missing_is_fine and isinstance(error, errors.Missing) and error.name == word):
                status = 1
        return status


def local(text: str) -> str:
    """A whole sentence in the user's language: its module is there where that is another than English."""
    speech = sys.modules.get("estiva.speech")
    try:
        return speech.translated(text) if speech is not None else text
    except Exception:
        return text  # no file can be opened, no memory be had: that is what is to be told


def warn(text: str) -> None:
    """A line on stderr, in Docker's form, of what was asked for and has no effect."""
    sys.stdout.flush()
    sys.stderr.write(f"WARNING: {errors.oneline(text)}\n")


def refuse_trust(options: Options) -> None:
    """--disable-content-trust is so anyway; the contrary can't be had. Raises Unsupported."""
    if not options.flag("disable-content-trust", True):
        raise errors.Unsupported(
            "--disable-content-trust=false is not supported: signatures are not verified here",
            hint="leave it out; a digest (NAME@sha256:...) says exactly what is meant",
        )


def tell(error: errors.EstivaError, see: str = "") -> None:
    """An error for people: one line, the lines that it is about, then what can be done about it."""
    hint = error.hint or (f"see '{see} --help'" if see and isinstance(error, UsageError) else "")
    lines = [f"estiva: {local(errors.brief(error.message))}"]
    if error.excerpt:
        lines.append(error.excerpt)
    if hint:
        lines.append(f"{local('hint')}: {local(errors.brief(hint))}")
    sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")
