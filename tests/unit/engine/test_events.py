"""`events`: filters, Docker's shape, and following the log over its rotations."""

import os
import threading
import time

import pytest

from estiva.engine import Engine, events
from estiva.engine.state import eventlog
from estiva.errors import InvalidInput, Unsupported

CONTAINER, IMAGE = "c" * 64, "sha256:" + "1" * 64


@pytest.fixture
def engine(tmp_path):
    made = Engine(str(tmp_path / "root"), str(tmp_path / "run"))
    made.paths.prepare()
    return made


def fill(engine):
    about = {"image": "repo/alpine:3", "name": "web", "tier": "front"}
    for kind, action, actor, attributes in (
        ("image", "pull", "repo/alpine:3", {"name": "repo/alpine"}),
        ("image", "tag", IMAGE, {"name": "other:1"}),
        ("container", "create", CONTAINER, about),
        ("container", "exec_start: sh -c x", CONTAINER, about),
        ("container", "die", CONTAINER, {**about, "exitCode": "1"}),
        ("volume", "create", "data", {"driver": "local"}),
        ("network", "connect", "n" * 64, {"container": CONTAINER, "name": "front"}),
    ):
        eventlog.write(engine.paths, kind, action, actor, attributes)


def past(engine, **filters):
    return [e["Action"] for e in events.events(engine, until=time.time(), filters=filters or None)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["container"]}, ["create", "exec_start: sh -c x", "die"]),
        ({"type": ["volume", "network"]}, ["create", "connect"]),
        ({"event": ["die", "pull"]}, ["pull", "die"]),
        ({"event": ["exec_start"]}, ["exec_start: sh -c x"]),
        ({"event": ["exec_start: sh -c x"]}, ["exec_start: sh -c x"]),
        ({"container": ["web"]}, ["create", "exec_start: sh -c x", "die"]),
        ({"container": [CONTAINER[:5]], "event": ["die"]}, ["die"]),
        ({"container": ["", "nobody"]}, []),
        ({"image": ["repo/alpine:3"]}, ["pull", "create", "exec_start: sh -c x", "die"]),
        ({"image": ["repo/alpine"]}, ["pull", "create", "exec_start: sh -c x", "die"]),
        ({"image": [IMAGE]}, ["tag"]),
        ({"label": ["tier"]}, ["create", "exec_start: sh -c x", "die"]),
        ({"label": ["tier=front", "exitCode=1"]}, ["die"]),
        ({"label": ["tier=back"]}, []),
        ({"volume": ["data"]}, ["create"]),
        ({"network": ["front"]}, ["connect"]),
        ({"scope": ["swarm"]}, []),
        ({"scope": ["local"], "type": ["network"]}, ["connect"]),
    ],
)
def test_filters(engine, filters, expected):
    fill(engine)
    assert past(engine, **filters) == expected


@pytest.mark.parametrize("key", ["daemon", "service", "node", "plugin", "secret", "config"])
def test_what_there_is_none_of_is_refused_by_name(engine, key):
    with pytest.raises(Unsupported, match=key):
        past(engine, **{key: ["x"]})
    if key in ("daemon", "plugin"):
        with pytest.raises(Unsupported, match="type=" + key):
            past(engine, type=[key])


def test_bad_filters(engine):
    for filters in ({"colour": ["red"]}, {"type": ["thing"]}, {"scope": ["mars"]}):
        with pytest.raises(InvalidInput, match="invalid filter"):
            past(engine, **filters)


def test_docker_s_shape(engine):
    eventlog.write(engine.paths, "container", "start", CONTAINER, {"image": "a", "name": "b"})
    eventlog.write(engine.paths, "volume", "create", "data", {"driver": "local"})
    first, second = events.events(engine, until=time.time())
    assert list(first) == ["status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano"]
    assert (first["status"], first["id"], first["from"]) == ("start", CONTAINER, "a")
    assert first["time"] == first["timeNano"] // 10**9 and first["scope"] == "local"
    assert list(second) == ["Type", "Action", "Actor", "scope", "time", "timeNano"]


def test_since_and_until(engine):
    now = time.time_ns()
    for number in range(5):
        line = eventlog.line("container", str(number), "c", {}, now + number * 10**9)
        eventlog.append(engine.paths, line)
    window = events.events(engine, since=(now + 10**9) / 1e9 - 0.1, until=(now + 3 * 10**9) / 1e9 + 0.1)
    started = time.monotonic()
    assert [e["Action"] for e in window] == ["1", "2", "3"]
    assert time.monotonic() - started >= 2.9  # until then nobody can say that no more comes


class Listener(threading.Thread):
    """Follows in a thread until it has heard `last`."""

    def __init__(self, engine, last, **options):
        super().__init__(daemon=True)
        self.engine, self.last, self.options = engine, last, options
        self.heard, self.ready = [], threading.Event()
        self.start()
        assert self.ready.wait(10)

    def run(self):
        for event in events.events(self.engine, begun=self.ready.set, **self.options):
            self.heard.append(event["Action"])
            if event["Action"] == self.last:
                return


def test_only_what_comes_without_since(engine):
    fill(engine)
    listener = Listener(engine, "new")
    eventlog.write(engine.paths, "container", "new", "c")
    listener.join(10)
    assert listener.heard == ["new"]


@pytest.mark.parametrize("kernel", ["inotify", "none"])
def test_every_event_once_over_rotations(engine, kernel, monkeypatch):
    if kernel == "none":
        from estiva.linux import inotify

        def refuse():
            raise OSError("too many")

        monkeypatch.setattr(inotify, "inotify_init1", refuse)
    eventlog.write(engine.paths, "container", "before", "c")
    listener = Listener(engine, "last", since=0.0)
    for number in range(3000):
        eventlog.write(engine.paths, "container", str(number), "c", {"padding": "x" * 900})
        if number % 500 == 0:
            time.sleep(0.3)  # two rotations between two looks would lose the oldest, here as in Docker
    eventlog.write(engine.paths, "container", "last", "c")
    listener.join(30)
    assert listener.heard == ["before", *map(str, range(3000)), "last"]


def test_the_log_comes_later_and_is_taken_away(engine):
    listener = Listener(engine, "third")
    eventlog.write(engine.paths, "container", "first", "c")
    time.sleep(0.3)
    os.unlink(eventlog.path(engine.paths))
    eventlog.write(engine.paths, "container", "second", "c")
    time.sleep(1.5)
    eventlog.write(engine.paths, "container", "third", "c")
    listener.join(10)
    assert listener.heard == ["first", "second", "third"]


def test_who_begins_now_reads_the_end_of_a_long_log_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "NEAR", 500)
    path = tmp_path / "events.log"
    old = [eventlog.line("image", "pull", str(number), {}, number + 1) for number in range(50)]
    path.write_text("".join(old))
    tail = events.Tail(os.open(path, os.O_RDONLY))
    tail.skip()
    found = [int(event["Actor"]["ID"]) for event in tail.read()]
    tail.close()
    assert found == list(range(found[0], 50))
    assert 3 < len(found) < 10
