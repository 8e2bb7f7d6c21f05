"""Lists by a template: escapes are such within actions and outside of them."""

import pytest

from estiva.cli.format import tables

ROW = {"Names": "web", "Image": "box:1"}


@pytest.mark.parametrize(
    "template",
    [r"{{.Names}}\t{{.Image}}", r'{{.Names}}{{"\t"}}{{.Image}}', r'{{printf "%s\t%s" .Names .Image}}'],
)
def test_a_tab_is_one_wherever_it_is_written(capsys: pytest.CaptureFixture[str], template: str) -> None:
    tables.show([ROW], [("Names", "NAMES"), ("Image", "IMAGE")], template)
    assert capsys.readouterr().out == "web\tbox:1\n"
    tables.show([ROW], [("Names", "NAMES"), ("Image", "IMAGE")], f"table {template}")
    assert capsys.readouterr().out == "NAMES     IMAGE\nweb       box:1\n"


@pytest.mark.parametrize(
    "names",
    [
        ["v1", "v2", "v9", "v10", "v10a", "v100"],
        ["a", "a-1", "a1", "a1b", "ab", "b"],
        ["1", "9" * 5000, "1" + "0" * 5000, "a²", "b١"],
        [*"019", "A", "_", "a"],
    ],
)
def test_names_are_in_natural_order(names: list[str]) -> None:
    backwards = [*reversed(names)]
    backwards.sort(key=tables.natural)
    assert backwards == names
