"""docs/sandbox.md promises nothing that is not tried: each test that it names is there, and none is left out."""

import pathlib
import re

CHECKOUT = pathlib.Path(__file__).parents[3]


def test_every_line_has_a_test_that_exists():
    page = (CHECKOUT / "docs/sandbox.md").read_text()
    tried = "".join(path.read_text() for path in (CHECKOUT / "tests/security").glob("test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", page))
    assert len(names) > 30 and not {name for name in names if f"def {name}(" not in tried}
    rows = [line for line in page.partition("## Limits")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20 and all("`test_" in row for row in rows)
