"""Where a container's cgroup is: HostConfig.CgroupParent in docker's forms, none of which leads out."""

from __future__ import annotations

import pytest

from estiva.engine.state.cgroup import cgroup_path


@pytest.mark.parametrize(
    ("above", "path"),
    [
        ("", "/estiva/ID"),
        ("/pods", "/pods/ID"),
        ("pods", "/estiva/pods/ID"),
        ("/pods/../../other", "/other/ID"),
        ("../../other", "/estiva/other/ID"),
        ("..", "/estiva/ID"),
        ("/..", "/ID"),
        ("a-b.slice", "/a.slice/a-b.slice/estiva-ID.scope"),
    ],
)
def test_it_stays_below_the_root_and_a_relative_one_below_ours(monkeypatch, above, path):
    monkeypatch.delenv("ESTIVA_CGROUP_PARENT", raising=False)
    assert cgroup_path("ID", above) == path
