"""linux.intelRdt against a folder in the place of resctrl."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from estiva.errors import Conflict, NotFound, Unsupported
from estiva.runtime import rdt


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in the kernel's, a new directory has its files at once."""
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        for name in ("tasks", "schemata"):
            Path(path, name).write_text("")
        make(f"{path}/mon_groups")

    (tmp_path / "tasks").write_text("")
    monkeypatch.setattr(os, "mkdir", mkdir)
    return tmp_path


def test_a_class_of_its_own(place: Path) -> None:
    settings = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "enableMonitoring": True}
    made = rdt.apply(settings, "c1", 42, str(place))
    assert made == [f"{place}/c1/mon_groups/c1", f"{place}/c1"]
    assert (place / "c1/tasks").read_text() == "42"
    assert (
        (place / "c1/schemata").read_text().startswith("MB:0=20\n")
    )  # a plain file: the last write is on top
    assert (place / "c1/mon_groups/c1/tasks").read_text() == "42"


def test_what_will_be_made_is_known_before(place: Path) -> None:
    """It is on record first, so that who is killed in the middle leaves nothing that is not known."""
    for settings in (
        {},
        {"enableMonitoring": True},
        {"closID": "gold", "enableMonitoring": True, "schemata": ["L3:0=f"]},
    ):
        told = rdt.planned(settings, "c1", str(place))
        made = rdt.apply(settings, "c1", 42, str(place))
        assert made == told
        assert rdt.planned(settings, "c1", str(place)) == []  # what is there already is not ours to take away
        for directory in made:
            shutil.rmtree(directory)


def test_a_named_class(place: Path) -> None:
    with pytest.raises(NotFound, match="no class gold"):
        rdt.apply({"closID": "gold"}, "c1", 1, str(place))
    assert rdt.apply({"closID": "gold", "schemata": ["L3:0=f"]}, "c1", 1, str(place)) == []
    assert rdt.apply({"closID": "gold", "schemata": ["L3:0=f"]}, "c2", 2, str(place)) == []
    with pytest.raises(Conflict, match="has not the schema L3:0=1"):
        rdt.apply({"closID": "gold", "schemata": ["L3:0=1"]}, "c3", 3, str(place))
    assert rdt.apply({"closID": "/"}, "c4", 4, str(place)) == []
    assert (place / "tasks").read_text() == "4"


@pytest.mark.skipif("resctrl" in open("/proc/self/mounts").read(), reason="this machine has resctrl")
def test_where_there_is_none() -> None:
    with pytest.raises(Unsupported, match="there is no resctrl filesystem"):
        rdt.apply({"closID": "x"}, "c", 1)


def test_update_writes_other_shares_to_the_class(place: Path) -> None:
    rdt.apply({"closID": "gold", "schemata": ["L3:0=f"]}, "c1", 1, str(place))
    rdt.change({"closID": "gold"}, "c1", ["L3:0=3"], str(place))
    assert (place / "gold/schemata").read_text().startswith("L3:0=3\n")
    rdt.apply({"memBwSchema": "MB:0=20"}, "c2", 2, str(place))
    rdt.change({}, "c2", ["MB:0=90"], str(place))
    assert (place / "c2/schemata").read_text().startswith("MB:0=90\n")
    with pytest.raises(NotFound, match="the class .*/c3 is not there"):
        rdt.change({}, "c3", ["MB:0=90"], str(place))
