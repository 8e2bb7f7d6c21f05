"""Ids, and what is found below ROOT."""

import os

import pytest

from estiva import errors
from estiva.runtime.lifecycle import containers


@pytest.mark.parametrize("id", ["a", "A-b_c.d+e", "0" * 255])
def test_ids(id):
    assert containers.check_id(id) == id


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\n", "é", "0" * 256])
def test_no_ids(id):
    with pytest.raises(errors.InvalidInput):
        containers.check_id(id)


@pytest.fixture
def root(tmp_path):
    for name, content in (("b", '{"id": "b", "pid": 0}'), ("a", '{"id": "a", "pid": 0}'), ("damaged", "[")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(content)
    (tmp_path / "half").mkdir()
    return str(tmp_path)


def test_all_but_what_is_half_made_or_damaged(root):
    assert [made.id for made in containers.everything(root)] == ["a", "b"]
    assert containers.everything(root + "/none") == []
    with pytest.raises(errors.NotFound, match='container "half" does not exist'):
        containers.load(root, "half")
    with pytest.raises(errors.StateError):
        containers.load(root, "damaged")


def test_only_what_is_half_made_is_swept(root):
    assert containers.sweep_half_made(root, "half") and not os.path.exists(f"{root}/half")
    assert not containers.sweep_half_made(root, "a") and os.path.exists(f"{root}/a")
    assert not containers.sweep_half_made(root, "none")
    with pytest.raises(errors.InvalidInput):
        containers.sweep_half_made(root, "../a")


def test_one_whose_init_is_gone_takes_no_signal(root):
    """Its pid is another process's by now, ours: which must not get it."""
    with open(f"{root}/a/state.json", "w") as file:
        file.write(f'{{"id": "a", "pid": {os.getpid()}, "start_time": 1}}')
    with pytest.raises(errors.Conflict, match="container not running: a"):
        containers.load(root, "a").signal(9)
