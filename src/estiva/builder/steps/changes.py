"""`commit --change` and `import --change`: Dockerfile instructions applied to the config of an image."""

from __future__ import annotations

from estiva.builder.frontend import parser
from estiva.builder.frontend.errors import DockerfileError, shorten
from estiva.builder.frontend.instructions import Text, interpret
from estiva.builder.steps import config
from estiva.builder.steps.state import State
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


ALLOWED = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
)  # fmt: skip


def apply_changes(document: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """A copy of an image config with instructions applied in order, as a build would (docker commit(1)).

    Each change is one of ALLOWED; history stays as it is. Raises InvalidInput naming the change.
    """
    state = State(document, clock=lambda: "", path=False)
    for change in changes:
        try:
            _apply(state, change)
        except DockerfileError as error:
            raise InvalidInput(f"the change {shorten(change)!r}: {error.bare}", hint=error.hint) from None
    if "ArgsEscaped" not in (document.get("config") or {}):
        state.config.pop("ArgsEscaped", None)  # a build's alone, as docker has it
    return {**document, "config": state.config}


def _apply(state: State, change: str) -> None:
    _check((change.split(None, 1) or [""])[0])
    for instruction in parser.parse(change, name="change").instructions:
        _check(instruction.name)
        if not instruction.args:
            raise InvalidInput(f"{instruction.name} needs an argument")
        typed = interpret(instruction)
        if typed.name == "WORKDIR":
            assert isinstance(typed, Text)
            config.workdir(state, typed)
        else:
            config.apply(state, typed)


def _check(word: str) -> None:
    if word.upper() not in ALLOWED:
        raise InvalidInput(f"{word!r} can't be used in a change", hint="use " + ", ".join(ALLOWED))
