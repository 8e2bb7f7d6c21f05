"""The lines of history of instructions that change the config only, as BuildKit writes them."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import parser
from estiva.builder.frontend.instructions import interpret
from estiva.builder.frontend.variables import Budget
from estiva.builder.steps import config
from estiva.builder.steps.state import State
from estiva.oci.platform import Platform


def applied(line: str) -> tuple[State, str]:
    state = State.scratch(Platform.host(), lambda: "", Budget())
    return state, config.apply(state, interpret(parser.parse(line).instructions[0]))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ("", '"0s" "0s" "0s" "0s" \'\\x00\''),
        ("--interval=1m30s --timeout=500ms ", '"1m30s" "500ms" "0s" "0s" \'\\x00\''),
        ("--start-period=2h --start-interval=1.5s ", '"0s" "0s" "2h0m0s" "1.5s" \'\\x00\''),
        ("--retries=5 ", '"0s" "0s" "0s" "0s" \'\\x05\''),
        ("--retries=10 ", '"0s" "0s" "0s" "0s" \'\\n\''),
        ("--retries=39 ", '"0s" "0s" "0s" "0s" \'\\\'\''),
        ("--retries=65 ", '"0s" "0s" "0s" "0s" \'A\''),
        ("--retries=127 ", '"0s" "0s" "0s" "0s" \'\\x7f\''),
        ("--retries=173 ", '"0s" "0s" "0s" "0s" \'\\u00ad\''),
    ],
)
def test_healthcheck(options: str, numbers: str) -> None:
    assert applied(f"HEALTHCHECK {options}CMD a b")[1] == f'HEALTHCHECK &{{["CMD-SHELL" "a b"] {numbers}}}'


def test_a_command_is_told_to_be_escaped() -> None:
    assert applied('CMD ["a"]')[0].config["ArgsEscaped"] is True
    assert "ArgsEscaped" not in applied('ENTRYPOINT ["a"]')[0].config
