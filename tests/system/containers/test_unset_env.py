"""`-e NAME` where the caller has no such variable: it is taken away, whoever has set it."""

import os

import pytest

from enginekit import host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.image("withenv:1", ["ENV FROM_IMAGE=1 STAYS=2"])
        yield made


def variables(text):
    return {line.partition("=")[0] for line in text.splitlines()}


def test_of_the_image_and_of_the_engine(box):
    shown = variables(box.out("run", "--rm", "withenv:1", "env"))
    assert {"FROM_IMAGE", "STAYS", "HOSTNAME", "PATH"} <= shown
    for name in ("HOSTNAME", "FROM_IMAGE", "NOT_THERE"):
        env = {key: value for key, value in os.environ.items() if key != name}
        assert name not in env
        left = variables(box.out("run", "--rm", "-e", name, "withenv:1", "/bin/env"))
        assert left == shown - {name}, name
    told = box.out("run", "--rm", "-t", "-e", "NOT_THERE", "withenv:1", "env")
    assert "TERM" in variables(told)


def test_of_exec_and_what_is_written_down(box):
    box.estiva("run", "-d", "--name", "up", "-e", "HOSTNAME", "-e", "OWN=3", "withenv:1", "sleep", "1000")
    assert variables(box.out("exec", "up", "env")).isdisjoint({"HOSTNAME"})
    left = variables(box.out("exec", "-e", "OWN", "-e", "FROM_IMAGE", "up", "env"))
    assert left.isdisjoint({"OWN", "FROM_IMAGE"}) and "STAYS" in left
    assert "HOSTNAME" in box.out("inspect", "-f", "{{json .Config.Env}}", "up")
    box.estiva("commit", "up", "kept:1")
    shown = box.out("inspect", "-f", "{{json .Config.Env}}", "kept:1")
    assert "OWN=3" in shown and "HOSTNAME" not in shown
    box.estiva("rm", "-f", "up")
