"""What was asked for and is not done is said: sizes of what has none, details of a log."""

import json
import os

import pytest

from enginekit import IMAGE, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.image("checked:1", ["HEALTHCHECK --interval=5s CMD true"])
        made.image("unchecked:1", ["HEALTHCHECK NONE"], source="checked:1")
        yield made


@pytest.mark.parametrize(
    "words", [[IMAGE], ["unchecked:1"], ["checked:1"], ["--no-healthcheck", "checked:1"]]
)
def test_nothing_is_said_of_a_health_check(box, words):
    assert box.estiva("run", "--rm", "--network", "none", *words, "true").stderr == ""


def test_inspect_tells_what_a_container_has_written(box):
    box.estiva(
        "run",
        "--name",
        "wrote",
        "--network",
        "none",
        IMAGE,
        "dd",
        "if=/dev/zero",
        "of=/f",
        "bs=1000",
        "count=9",
    )
    (record,) = json.loads(box.out("inspect", "--size", "wrote"))
    size = json.loads(box.out("image", "inspect", IMAGE))[0]["Size"]
    assert record["SizeRw"] >= 9000 and record["SizeRootFs"] == record["SizeRw"] + size
    assert json.loads(box.out("container", "inspect", "-s", "wrote"))[0]["SizeRw"] == record["SizeRw"]
    assert "SizeRw" not in json.loads(box.out("inspect", "wrote"))[0]
    done = box.estiva("inspect", "--size", "--type", "image", IMAGE)
    assert done.stderr == "WARNING: --size ignored for images\n"
    box.estiva("rm", "wrote")
