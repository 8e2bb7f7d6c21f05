"""Who is attached: who is waited for, and who is let go of."""

import os
import select
import socket
from collections.abc import Iterator

import pytest

from estiva.engine.monitor import audience
from estiva.engine.monitor.audience import FULL, LAST, Audience


@pytest.fixture
def room(tmp_path: object) -> Iterator[tuple[Audience, socket.socket]]:
    """An audience of one guest, whose end is the other."""
    listening = audience.listen(str(tmp_path))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    assert listening is not None
    made = Audience(listening, lambda data: None, [theirs.detach()])
    yield made, ours
    made.close()
    ours.close()


def fill(made: Audience, size: int) -> None:
    while made.clients[0].size <= size:
        made.put(b"1", b"x" * 60000)


def test_a_guest_is_waited_for_and_others_are_not(
    room: tuple[Audience, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = room
    fill(made, FULL)
    assert made.full(True)
    assert not made.full(False)  # the end of a container is not kept waiting
    monkeypatch.setattr(audience, "PATIENCE", -1)
    made.serve({})
    assert len(made.clients) == 1
    made.clients[0].patient = False
    made.serve({})
    assert not made.clients


def test_what_is_left_at_the_end_is_delivered_though_its_monitor_goes(
    room: tuple[Audience, socket.socket],
) -> None:
    made, ours = room
    fill(made, LAST)
    made.say({"event": "exited", "status": 3})
    made.close()
    heard = 0
    while data := ours.recv(1 << 17):
        heard += len(data)
        last = data
    assert heard > LAST
    assert last.startswith(b'{"event"')


def test_who_has_gone_at_the_end_keeps_no_process(room: tuple[Audience, socket.socket]) -> None:
    made, ours = room
    fill(made, FULL)
    watch, end = os.pipe()
    os.set_inheritable(end, True)
    made.say({"event": "exited", "status": 0})
    ours.close()
    os.close(end)
    assert select.select([watch], [], [], 60)[0]  # the fork, which would have the end too, has ended
    os.close(watch)
