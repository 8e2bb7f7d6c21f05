"""The event log: bounded, whole lines whatever happens, and never in the way of a verb."""

import json
import multiprocessing
import os

import pytest

from estiva.engine.state import eventlog
from estiva.paths import Paths


@pytest.fixture
def paths(tmp_path):
    made = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    os.makedirs(made.root)
    os.makedirs(made.run_root)
    return made


def actions(paths, **window):
    return [event["Action"] for event in eventlog.read(paths, **window)]


def test_what_is_written_is_read_in_the_order_of_time(paths):
    eventlog.append(paths, eventlog.line("container", "second", "b", {}, 20))
    eventlog.append(paths, eventlog.line("container", "first", "a", {"name": "é\n"}, 10))
    found = list(eventlog.read(paths))
    assert [event["Action"] for event in found] == ["first", "second"]
    assert found[0]["Actor"] == {"ID": "a", "Attributes": {"name": "é\n"}} and found[0]["timeNano"] == 10
    assert actions(paths, since=20) == ["second"] and actions(paths, until=19) == ["first"]
    assert os.stat(eventlog.path(paths)).st_mode & 0o777 == 0o600


def test_two_files_of_bounded_size(paths):
    for number in range(4000):
        eventlog.write(paths, "container", str(number), "x" * 64, {"image": "y" * 700})
    sizes = [os.path.getsize(eventlog.path(paths) + end) for end in ("", ".1")]
    assert sorted(os.listdir(paths.root)) == ["events.log", "events.log.1"]
    assert all(size <= eventlog.LIMIT + eventlog.LONGEST for size in sizes)
    kept = actions(paths)
    assert kept[-1] == "3999" and kept == [str(n) for n in range(int(kept[0]), 4000)]


def test_an_event_is_of_bounded_size(paths):
    eventlog.write(paths, "container", "start", "i", {"long": "x" * (1 << 20), "name": "short"})
    eventlog.write(paths, "container", "exec: " + "x" * (1 << 20), "i", {"name": "short"})
    assert os.path.getsize(eventlog.path(paths)) < 2 * eventlog.LONGEST
    assert [event["Actor"]["Attributes"] for event in eventlog.read(paths)] == [{"name": "short"}] * 2


def burst(paths, who):
    for number in range(1500):
        eventlog.write(paths, "container", f"{who}.{number}", "x" * 64, {"image": "y" * 100})


def test_many_processes_lose_nothing_over_a_rotation(paths):
    workers = [multiprocessing.Process(target=burst, args=(paths, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with open(eventlog.path(paths) + ".1") as older, open(eventlog.path(paths)) as newer:
        lines = [json.loads(line)["Action"] for line in (*older, *newer) if line != "\n"]
    assert len(lines) == len(set(lines)) == 6000


def test_what_a_full_disk_cut_off_harms_that_event_alone(paths):
    eventlog.write(paths, "container", "one", "a")
    with open(eventlog.path(paths), "ab") as file:
        file.write(b'{"timeNano":5,"Type":"container","Act')
    eventlog.write(paths, "container", "two", "a")
    assert actions(paths) == ["one", "two"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"1\n",
        b'{"timeNano":"1","Type":"c","Action":"a","Actor":{"ID":"","Attributes":{}}}\n',
        b'{"timeNano":1,"Type":"c","Action":"a","Actor":{"ID":"","Attributes":{"a":1}}}\n',
        b'{"timeNano":1,"Type":"c","Action":"a","Actor":[]}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_garbage_is_passed_over(paths, garbage):
    eventlog.write(paths, "container", "one", "a")
    with open(eventlog.path(paths), "ab") as file:
        file.write(garbage)
    eventlog.write(paths, "container", "two", "a")
    assert actions(paths) == ["one", "two"]


def test_events_that_cannot_be_written_are_counted_and_fail_nothing(paths):
    assert eventlog.lost(paths) == 0
    os.mkdir(eventlog.path(paths))
    eventlog.write(paths, "container", "one", "a")
    eventlog.append(paths, *(eventlog.line("container", "two", "a") for _ in range(2)))
    assert eventlog.lost(paths) == 3 and actions(paths) == []
    os.rmdir(eventlog.path(paths))
    os.symlink("/dev/full", eventlog.path(paths))
    eventlog.write(paths, "container", "one", "a")
    assert eventlog.lost(paths) == 4
    os.rmdir(paths.run_root) if not os.listdir(paths.run_root) else os.unlink(paths.run_root + "/events.lost")
    os.rmdir(paths.run_root)
    eventlog.write(paths, "container", "one", "a")  # nowhere to count either
