"""Copying one file: what a kill in the middle leaves."""

import os
import signal

import pytest

from estiva.engine.mounts import trees
from estiva.engine.mounts.terms import Terms


@pytest.mark.parametrize("there", [None, "old"])
def test_a_copy_of_one_file_that_is_killed_leaves_no_part_of_it_under_the_name(tmp_path, monkeypatch, there):
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    target = tmp_path / "target"
    target.mkdir()
    if there:
        (target / "name").write_text(there)

    def killed(reader, writer, status):
        os.sendfile(writer, reader, None, 50_000)
        os.kill(os.getpid(), signal.SIGKILL)

    folder, found = os.open(target, os.O_RDONLY), os.open(tmp_path / "source", os.O_PATH)
    terms = Terms(merge=True, chown=False)
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(trees, "copy_content", killed)
            trees.Copy(terms).file(found, folder, "name", "/name")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert ((target / "name").read_text() if there else os.path.lexists(target / "name")) == (there or False)
    (left,) = set(os.listdir(target)) - {"name"}
    assert left.endswith(".estiva-cp")
    trees.Copy(terms).file(found, folder, "name", "/name")
    assert (target / "name").stat().st_size == 100_000
    os.close(folder)
    os.close(found)
