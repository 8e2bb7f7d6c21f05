"""Arguments of the Python API: what is wrong is named, and the package shows what it has."""

import pathlib
import pickle
import pydoc

import pytest

import estiva
from estiva.errors import Conflict, InvalidInput
from estiva.sdk import values
from estiva.sdk.sandbox import owned


@pytest.mark.parametrize("root", [False, 0, b"", [], "", b"/x", 5, {}, "a\0b"], ids=repr)
def test_what_is_no_root(root):
    for arguments in ((root,), (None, root)):
        with pytest.raises(InvalidInput, match="root and run_root must be paths"):
            estiva.Engine(*arguments)


def test_a_root_may_be_a_path(tmp_path):
    assert estiva.Engine(tmp_path, str(tmp_path)).paths.root == str(tmp_path)
    assert estiva.Engine(None, None).paths.root


def test_signals():
    assert values.signal("15") == "15" and values.signal(9) == "9" and values.signal("TERM") == "TERM"
    for word in ("\uff11", "\u0661", "TERM\u00e9"):
        with pytest.raises(InvalidInput):
            values.signal(word)


def test_environment():
    assert values.environment({"A": None, "B": 1, "P": pathlib.Path("/x")}) == ["A", "B=1", "P=/x"]
    for wrong in ({None: "x"}, {"a": {}}, {"a": b"x"}, {1: "x"}):
        with pytest.raises(InvalidInput, match="env must be"):
            values.environment(wrong)


def test_a_timeout_is_pickled_whole():
    error = estiva.CommandTimeout("late", b"out", b"err", True, hint="sooner")
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.hint, again.stdout, again.stderr, again.truncated) == (
        "late", "sooner", b"out", b"err", True,
    )  # fmt: skip


def test_one_block_is_entered_once_at_a_time(monkeypatch, tmp_path):
    class Begun:
        def __init__(self, *arguments, **options):
            self.closed = 0

        def __enter__(self):
            return self

        def close(self):
            self.closed += 1

        id = "1"

        def started(self):
            pass

    monkeypatch.setattr(owned, "Begun", Begun)
    block = estiva.container("box", engine=estiva.Engine(tmp_path, tmp_path))
    block.__exit__(None, None, None)  # nothing to end
    with block as box:
        closed = block.begun.closed
        with pytest.raises(Conflict, match="entered already"), block:
            pass
        assert block.begun.closed == closed and not box.gone
    assert box.gone
    with block as again:
        assert again is not box


def test_the_package_shows_what_it_has():
    assert {*estiva.__all__, "__version__"} <= set(dir(estiva))
    text = pydoc.plain(pydoc.render_doc(estiva))
    assert all(f"    {name}(" in text for name in ("run", "container", "build", "pull", "push"))
    assert "class Engine" in text and "class CommandTimeout" in text


@pytest.mark.parametrize(
    ("value", "told"), [(0o10000, "from 0 to 4095"), (-1, "from 0 to 4095"), ("7", "from 0 to 4095")]
)
def test_a_number_that_is_too_large_tells_the_largest(value, told):
    with pytest.raises(InvalidInput, match=f"mode must be a whole number {told}, not"):
        values.whole("mode", value, 0, 0o10000)


def test_what_is_no_data_is_named():
    with pytest.raises(InvalidInput, match="^data must be bytes or text, not 5$"):
        values.data(5, "data")
