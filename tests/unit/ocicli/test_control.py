"""The words of `kill` and `delete`."""

from estiva.cmdline.parser import parse_verb
from estiva.ocicli import control


def test_kill_and_delete_words():
    assert parse_verb(control.KILL, ["-a", "id", "KILL"], "kill").arguments == ["id", "KILL"]
    assert parse_verb(control.DELETE, ["--force", "id"], "delete").flag("force")
