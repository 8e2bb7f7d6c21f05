import os

import pytest

from estiva.engine.state import names
from estiva.errors import InvalidInput


@pytest.mark.parametrize("name", ["ab", "/web", "a.b-c_d", "0x", "A" * 200])
def test_names_that_may_be(name):
    assert names.check(name) == name.removeprefix("/")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "/",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "//ab",
        "a\n",
        "a\0b",
        "é1",
        "A" * 201,
        "../x",
        "\udcff\udcff",
        None,
        5,
        ["ab"],
    ],
)
def test_names_that_may_not(name):
    with pytest.raises(InvalidInput, match="invalid container name"):
        names.check(name)


def test_invented_names_are_names():
    for attempt in range(100):
        name = names.invent(attempt)
        left, _, right = name.partition("_")
        assert names.check(name) == name and left in names.LEFT
        assert (right in names.RIGHT) if not attempt else right.rstrip("0123456789") in names.RIGHT


def test_words_of_names_are_there_once():
    assert len(set(names.LEFT)) == len(names.LEFT) and len(set(names.RIGHT)) == len(names.RIGHT)


def test_a_name_leads_to_its_container(tmp_path):
    (tmp_path / "names").mkdir()
    run_root = str(tmp_path)
    names.link_name(run_root, "web", "a" * 64)
    assert os.readlink(tmp_path / "names" / "web") == "a" * 64
    names.link_name(run_root, "web", "b" * 64)  # one that has been killed had it
    assert os.readlink(tmp_path / "names" / "web") == "b" * 64
    assert not names.unlink_name(run_root, "web", "a" * 64)
    assert names.unlink_name(run_root, "web", "b" * 64)
    assert not names.unlink_name(run_root, "web", "b" * 64)
    assert os.listdir(tmp_path / "names") == []
