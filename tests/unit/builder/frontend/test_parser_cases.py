"""Each folder of cases/ is a Dockerfile and what it parses to, or the error that it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from estiva.builder.frontend import parser
from estiva.errors import EstivaError

CASES = sorted((Path(__file__).parent / "cases").iterdir())


def dump(data: bytes) -> dict[str, Any]:
    try:
        dockerfile = parser.parse(data)
    except EstivaError as error:
        return {"error": error.message, "hint": error.hint, "excerpt": error.excerpt.split("\n")}
    instructions = []
    for each in dockerfile.instructions:
        entry: dict[str, Any] = {"line": each.line, "name": each.name, "args": each.args}
        if each.flags:
            entry["flags"] = each.flags
        if each.heredocs:
            entry["heredocs"] = [[doc.name, doc.expand, doc.text] for doc in each.heredocs]
        instructions.append(entry)
    result: dict[str, Any] = {"escape": dockerfile.escape, "instructions": instructions}
    if dockerfile.directives:
        result["directives"] = dockerfile.directives
    if gaps := [each.gap for each in dockerfile.instructions if each.gap]:
        result["gaps"] = gaps
    return result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    assert dump((case / "Dockerfile").read_bytes()) == expected
