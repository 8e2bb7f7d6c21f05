"""Whose owners the volume option U may change."""

import os

import pytest

from estiva.engine.mounts import chown
from estiva.errors import InvalidInput


@pytest.mark.parametrize(
    "source", ["/", "/etc", "/etc/", "/etc/../usr/.", "//home", "/var/lib", "/var", "/etc/passwd", "~"]
)
def test_what_the_host_needs_is_refused(source, tmp_path):
    with pytest.raises(InvalidInput, match="refused"):
        chown.check(os.path.expanduser(source))
    (tmp_path / "link").symlink_to(os.path.expanduser(source))
    with pytest.raises(InvalidInput, match="refused"):
        chown.check(str(tmp_path / "link"))


def test_a_state_root_and_what_holds_it_are_refused(tmp_path):
    state = tmp_path / "state"
    for source in (state, tmp_path, tmp_path.parent):
        with pytest.raises(InvalidInput, match="refused"):
            chown.check(str(source), str(state))


def test_others_are_not(tmp_path):
    chown.check(str(tmp_path / "data"), str(tmp_path / "data2"))
    chown.check("/srv/web", "/srv/web2")
