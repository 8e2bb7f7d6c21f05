"""What is wrong with a Dockerfile or fails in a build, always with the file's name and the line."""

from __future__ import annotations

from estiva.errors import EngineError, InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.syntax import Instruction
    from estiva.errors import EstivaError


class DockerfileError(InvalidInput):
    """The Dockerfile is wrong at `line`; `text` is that line as written, `bare` the message alone."""

    def __init__(self, message: str, *, name: str, line: int, text: str, hint: str = "") -> None:
        message = shorten(message, 1000)
        super().__init__(f"{name}:{line}: {message}", hint=hint)
        self.bare = message
        self.line = line
        self.text = text


class BuildFailed(EngineError):
    """A RUN step's command failed; `line`, `text` and `argv` say which, `status` is its exit status."""

    def __init__(
        self,
        message: str,
        *,
        line: int,
        text: str,
        status: int,
        argv: list[str] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv or []
        self.line = line
        self.text = text
        self.status = status


def shorten(text: str, limit: int = 200) -> str:
    """`text` on one line and not too long for a message."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def located(error: EstivaError, instruction: Instruction) -> EstivaError:
    """`error` with the Dockerfile's name and line before its message, unless it has them already, and with
    the instruction's lines."""
    said = "" if isinstance(error, BuildFailed) else error.message  # which has the whole command
    error.excerpt = error.excerpt or _lines(instruction, said)
    where = f"{instruction.file}:{instruction.line}: "
    if not error.message.startswith(f"{instruction.file}:"):
        error.message = where + shorten(error.message, 1000)
        error.args = (error.message,)
    return error


def bad(instruction: Instruction, message: str, hint: str = "") -> DockerfileError:
    """A DockerfileError at an instruction."""
    error = DockerfileError(
        message, name=instruction.file, line=instruction.line, text=instruction.original, hint=hint
    )
    error.excerpt = _lines(instruction, message)
    return error


def unsupported(instruction: Instruction, message: str, hint: str = "") -> Unsupported:
    """What this version does not do, at an instruction."""
    text = f"{instruction.file}:{instruction.line}: {message}"
    error = Unsupported(text, hint=hint)
    error.excerpt = _lines(instruction, message)
    return error


def _lines(instruction: Instruction, message: str) -> str:
    from estiva.builder.frontend.excerpt import excerpt

    return excerpt(instruction.lines, instruction.line, instruction.end, shorten(message, 1000))
