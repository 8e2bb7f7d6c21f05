"""A build that the caller has had enough of ends at once, whatever it is at, and leaves nothing."""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva import files
from estiva.errors import EngineError, Stopped, Unavailable

MANY = 300


class Enough(Exception):
    pass


class Look:
    """Counts how often it was asked; at the `most`th time it has had enough."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most
        self.times = 0
        self.lock = threading.Lock()

    def __call__(self) -> None:
        with self.lock:
            self.times += 1
            if self.times >= self.most:
                raise Enough


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    for number in range(MANY):
        made.put(f"many/{number % 10}/{number}", str(number))
    made.put("large", os.urandom(40 << 20))
    made.put("one", "1")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(MANY):
            tar.addfile(tarfile.TarInfo(str(number)))
    made.put("archive.tar", archive.getvalue())
    yield made
    made.close()


STEPS = {
    "COPY many /new": 2 * MANY,  # looked at for the key, and read for the layer
    "COPY many one /new/": 2 * MANY,
    "COPY large /new": 2 * 40,
    "COPY large one /new/": 2 * 40,
    "ADD archive.tar /new": MANY,
    "RUN --mount=target=/c cat /c/one": MANY,
    "RUN for n in 1 2 3 4 5 6 7 8 9; do for m in 1 2 3 4 5 6 7 8 9; do echo >/$n$m; done; done": 81,
}


@pytest.mark.parametrize("line", STEPS)
def test_a_step_ends_in_its_middle(line: str, lab: Lab) -> None:
    text = f"FROM box\n{line}\n"
    whole = Look()
    lab.build(text, look=whole, no_cache=True)
    assert whole.times >= STEPS[line]
    for part in (0.1, 0.4, 0.7, 0.95):
        with pytest.raises(Enough):
            lab.build(text, look=Look(whole.times * part), no_cache=True)  # and the lab: nothing is left


def test_what_waits_to_be_packed_is_not_packed_any_more(lab: Lab) -> None:
    def look() -> None:
        if threading.current_thread().name == "estiva-pack":
            raise Enough

    lines = "".join(f"RUN echo {number} > /packed; echo > /packed{number}\n" for number in range(6))
    with pytest.raises(Enough):
        lab.build("FROM box\n" + lines, look=look)
    lab.build("FROM box\n" + lines)
    assert "cached" not in {lab.statuses()[line] for line in lines.splitlines()}


def test_what_the_steps_before_a_failure_wrote_is_kept(lab: Lab) -> None:
    look = Look()
    with pytest.raises(EngineError):
        lab.build("FROM box\nRUN echo > /kept\nRUN exit 3\n", look=look)
    lab.build("FROM box\nRUN echo > /kept\n")
    assert lab.statuses()["RUN echo > /kept"] == "cached"


def test_so_it_is_where_another_build_that_it_is_made_with_fails(lab: Lab) -> None:
    def look() -> None:
        if threading.current_thread().name == "estiva-pack" or len(lab.steps) > 1:
            raise Stopped("there")

    with pytest.raises(Stopped):
        lab.build("FROM box\nRUN echo > /so\nRUN exit 0\nRUN exit 0\n", look=look)
    lab.build("FROM box\nRUN echo > /so\n")
    assert lab.statuses()["RUN echo > /so"] == "cached"


def test_who_interrupts_the_wait_for_it_ends_it(lab: Lab) -> None:
    asked = []

    def look() -> None:
        if threading.current_thread().name == "estiva-pack":
            asked.append(1)
            if len(asked) == 1:
                while not lab.events or lab.events[-1]["status"] != "error":
                    time.sleep(0.01)
                time.sleep(0.1)  # until they are waited for
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        lab.build("FROM box\nRUN for n in 1 2 3 4 5 6 7 8 9; do echo $n > /$n; done\nRUN exit 3\n", look=look)
    assert len(asked) < 9


def test_without_descriptors_it_says_so_and_keeps_none(lab: Lab) -> None:
    lab.put("/".join(["deep"] * 60) + "/x", "")
    before = os.listdir("/proc/self/fd")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 40, limits[1]))
    try:
        with pytest.raises(Unavailable, match="Dockerfile:2: COPY failed: too many open files"):
            lab.build("FROM box\nCOPY deep /\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_snapshot_that_can_not_be_removed_is_no_longer_held(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = lab.store.snapshots.prepare([])
    with monkeypatch.context() as patch:
        patch.setattr(files, "remove_tree", lambda path: os.open("/no/such", 0))
        with pytest.raises(FileNotFoundError):
            snapshot.discard()
    held = files.abandoned(snapshot.directory)
    assert held >= 0
    os.close(held)
    shutil.rmtree(snapshot.directory)


class Silent:
    """A server that takes connections and never says a word on them."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.asked = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        self.peer, _ = self.socket.accept()
        self.peer.recv(1)
        self.asked.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_server_holds_nobody(lab: Lab, scheme: str) -> None:
    server = Silent()

    def look() -> None:
        if server.asked.is_set():
            raise Enough

    with pytest.raises(Enough):
        lab.build(f"FROM box\nADD {scheme}://{server.place}/x /\n", look=look)
    server.peer.close()
    server.socket.close()
