"""The firewall of networks of one's own: who waits for whom."""

from estiva.network import rules
from estiva.paths import Paths


def test_who_mends_does_not_wait_for_itself(tmp_path, monkeypatch):
    """What is missing is looked for by who holds the lock already."""
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    paths.prepare()
    done = []
    monkeypatch.setattr(rules, "_missing", lambda paths, reader: ["rules of a network"])
    monkeypatch.setattr(rules, "install", lambda *words: done.append(words))
    monkeypatch.setattr(rules.time, "sleep", lambda seconds: done.append("waited"))
    rules.mend(paths, None, None)
    assert done == [(paths, None, None)]
