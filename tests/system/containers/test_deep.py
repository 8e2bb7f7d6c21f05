"""Folders that are nested deep in a container: kept in a layer as deep as one may be, else refused in plain words."""

import pathlib

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, host

pytestmark = requires_kernel
# a hundred folders at a time below each other, those before moved into the last: no path is long
NEST = (
    "c=d; for i in $(seq 99); do c=$c/d; done; mkdir /t; cd /t;"
    " for i in $(seq {}); do mkdir -p new/$c; test ! -e d || mv d new/$c/d; mv new/d d; rmdir new; done"
)


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def test_five_hundred_are_kept(box):
    box.estiva("run", "--name", "deep", "--network", "none", IMAGE, "sh", "-c", NEST.format(5))
    assert len(box.out("diff", "deep").splitlines()) == 501
    box.estiva("commit", "deep", "deep:1")
    path = "/t" + "/d" * 500
    box.estiva("run", "--rm", "--network", "none", "deep:1", "test", "-d", path)
    box.estiva("rm", "deep")
    box.estiva("rmi", "deep:1")


def test_five_thousand_are_refused_by_who_makes_a_layer(box):
    box.estiva("run", "--name", "deep", "--network", "none", IMAGE, "sh", "-c", NEST.format(50))
    for words in (["commit", "deep"], ["diff", "deep"], ["export", "deep"], ["cp", "deep:/t", "-"]):
        done = box.estiva(*words, status=1, text=False)
        told = done.stderr
        assert b"deep" in told and b"internal" not in told and len(told) < 600, (words, told)
        assert not done.stdout, words
    box.estiva("rm", "deep")
    folder = pathlib.Path(box.folder, "context")
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN {NEST.format(50)}\n")
    told = box.estiva("build", "--network", "none", folder, status=1).stderr
    assert "deep" in told and "internal" not in told, told
