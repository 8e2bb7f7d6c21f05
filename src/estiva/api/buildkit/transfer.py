"""Files between a client and us, over its session: contexts come (fsutil's DiffCopy), outputs go back."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote_plus

from estiva.api.buildkit import messages
from estiva.api.buildkit.messages import (
    PACKET,
    PACKET_DATA,
    PACKET_ERR,
    PACKET_FIN,
    PACKET_REQ,
    PACKET_STAT,
)
from estiva.api.buildkit.rpc import INTERNAL, RpcError
from estiva.engine.builds.mirror import DIR, LINK, PIPE, SETGID, SETUID, STICKY, Mirror, Told
from estiva.errors import EstivaError, InvalidInput, oneline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.session import Session
    from estiva.api.work import Work

DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
SEND = "/moby.filesync.v1.FileSend/DiffCopy"
PULL = "/moby.upload.v1.Upload/Pull"
PIECE = 1 << 20  # bytes of one message of an output


class Incoming:
    """One DiffCopy into a folder. The messages that have come are worked through together, in a thread."""

    def __init__(self, mirror: Mirror, progress: Callable[[int], None]) -> None:
        self.mirror = mirror
        self.progress = progress
        self.told = self.finished = self.closed = False
        self.size = 0  # bytes of all messages, which is what BuildKit tells
        self._lock = threading.Lock()

    def take(self, data: Sequence[bytes]) -> list[bytes]:
        """What is answered to these messages. Raises EstivaError."""
        with self._lock:
            return [] if self.closed else self._take(data)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self.mirror.close()

    def _take(self, data: Sequence[bytes]) -> list[bytes]:
        answers: list[bytes] = []
        for each in data:
            self.size += len(each)
            packet = PACKET.decode(each)
            kind = packet.get("type", PACKET_STAT)
            if kind == PACKET_STAT:
                number = self._stat(packet.get("stat"))
                if number >= 0:
                    answers.append(PACKET.encode({"type": PACKET_REQ, "id": number}))
            elif kind == PACKET_DATA:
                self.mirror.data(packet.get("id", 0), packet.get("data", b""))
            elif kind == PACKET_ERR:
                words = packet.get("data", b"").decode("utf-8", "replace")
                raise InvalidInput(f"the client can't send its files: {oneline(words)[:500]}")
            elif kind == PACKET_FIN:
                if not self.finished:
                    raise InvalidInput("the client has ended before all was sent")
                continue
            if self.told and self.mirror.done and not self.finished:
                self.finished = True
                self.mirror.finish()
                answers.append(PACKET.encode({"type": PACKET_FIN}))
        self.progress(self.size)
        return answers

    def _stat(self, stat: dict[str, Any] | None) -> int:
        if self.told:
            raise InvalidInput("the client tells of more files than there are")
        if stat is None:
            self.told = True
            return -1
        return self.mirror.tell(
            Told(
                stat.get("path", ""),
                stat.get("mode", 0),
                stat.get("size", 0),
                stat.get("mtime", 0),
                stat.get("link", ""),
            )
        )


async def receive(
    session: Session,
    work: Work,
    name: str,
    folder: str,
    *,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> int:
    """Make `folder` what the client's folder of that name is, and how many bytes came.

    `only`: these paths alone, and what links among them lead to; `exclude`: patterns of .dockerignore. Raises
    EstivaError, RpcError.
    """
    metadata = [("dir-name", name)]
    metadata += _metadata("followpaths", only) + _metadata("exclude-patterns", exclude)
    mirror = await work.long_do(Mirror, folder)
    incoming = Incoming(mirror, progress)
    try:
        async with session.stream(DIFF_COPY, metadata) as call:
            try:
                while data := await call.receive():
                    answers = await work.long_do(incoming.take, data)
                    if answers:
                        await call.send(answers)
            except EstivaError as error:
                words = PACKET.encode({"type": PACKET_ERR, "data": error.message.encode()})
                await call.send([words])
                raise
            if not incoming.finished:
                raise RpcError(INTERNAL, f"the client has not sent all of {oneline(name)}")
            await call.close()
        return incoming.size
    finally:
        await asyncio.shield(work.do(incoming.close))  # a thread may be at it still


def _metadata(key: str, values: Sequence[str]) -> list[tuple[str, str]]:
    if all(value.isascii() for value in values):
        return [(key, value) for value in values]
    return [(key, quote_plus(value)) for value in values] + [(key + "-encoded", "1")]


async def upload(session: Session, work: Work, path: str, out: IO[bytes]) -> None:
    """What the client has at http://buildkit-session/PATH: an archive that it reads from its stdin."""
    async with session.stream(PULL, [("urlpath", path), ("urlhost", "buildkit-session")]) as call:
        while data := await call.receive():
            pieces = [messages.CHUNK.decode(each).get("data", b"") for each in data]
            await work.long_do(out.write, b"".join(pieces))


class Outgoing:
    """A file of the client's that an output is written to."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.metadata = exporter(number)

    async def send(self, path: str, work: Work) -> int:
        """All of a file of ours; its size. Raises RpcError."""
        size = 0
        with open(path, "rb") as file:
            async with self.session.stream(SEND, self.metadata) as call:
                while data := await work.do(file.read, PIECE):
                    await call.send([messages.CHUNK.encode({"data": data})])
                    size += len(data)
                await finished(call)
        return size


def exporter(number: int) -> list[tuple[str, str]]:
    """What says which output of the client's is meant."""
    return [("buildkit-attachable-exporter-id", str(number))]


async def finished(call: Call) -> None:
    """Nothing more comes from us: until the client has it all. Raises RpcError."""
    await call.close()
    while await call.receive():
        pass


async def send_folder(session: Session, work: Work, path: str, number: int) -> int:
    """The files of a folder of ours into one of the client's; how many bytes. Raises RpcError."""
    outgoing = await work.long_do(Walk, path)
    size = 0
    async with session.stream(SEND, exporter(number)) as call:
        for at in range(0, len(outgoing.packets), 1000):
            await call.send(outgoing.packets[at : at + 1000])
        while data := await call.receive():
            for each in data:
                packet = PACKET.decode(each)
                kind = packet.get("type", PACKET_STAT)
                if kind == PACKET_REQ:
                    size += await _send_file(call, work, outgoing, packet.get("id", 0))
                elif kind == PACKET_ERR:
                    words = packet.get("data", b"").decode("utf-8", "replace")
                    raise InvalidInput(f"the client can't write the output: {oneline(words)[:500]}")
                elif kind == PACKET_FIN:
                    await call.send([PACKET.encode({"type": PACKET_FIN})])
                    await finished(call)
                    return size
    raise RpcError(INTERNAL, "the client has not taken all of the output")


async def _send_file(call: Call, work: Work, outgoing: Walk, number: int) -> int:
    size = 0
    with await work.do(outgoing.open, number) as file:
        while data := await work.do(file.read, PIECE):
            await call.send([PACKET.encode({"type": PACKET_DATA, "id": number, "data": data})])
            size += len(data)
    await call.send([PACKET.encode({"type": PACKET_DATA, "id": number})])
    return size


class Walk:
    """What a folder of ours has, told in fsutil's words: sorted, each folder before what is in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.packets: list[bytes] = []
        self._files: dict[int, str] = {}
        self._folder("")
        self.packets.append(PACKET.encode({"type": PACKET_STAT}))

    def open(self, number: int) -> IO[bytes]:
        """Raises InvalidInput."""
        if number not in self._files:
            raise InvalidInput("the client asks for a file that was not told")
        return open(os.path.join(self.path, self._files.pop(number)), "rb", opener=_unfollowed)

    def _folder(self, inside: str) -> None:
        with os.scandir(os.path.join(self.path, inside)) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        for entry in found:
            path = f"{inside}/{entry.name}" if inside else entry.name
            there = entry.stat(follow_symlinks=False)
            told = {"path": path, "mode": go_mode(there.st_mode), "mtime": there.st_mtime_ns}
            if entry.is_symlink():
                told["link"] = os.readlink(entry.path)
            elif stat.S_ISREG(there.st_mode):
                told["size"] = there.st_size
                self._files[len(self.packets)] = path
            self.packets.append(PACKET.encode({"type": PACKET_STAT, "stat": told}))
            if stat.S_ISDIR(there.st_mode):
                self._folder(path)


def go_mode(mode: int) -> int:
    """A mode of ours as Go's os.FileMode."""
    kinds = {stat.S_IFDIR: DIR, stat.S_IFLNK: LINK, stat.S_IFIFO: PIPE}
    special = (SETUID, stat.S_ISUID), (SETGID, stat.S_ISGID), (STICKY, stat.S_ISVTX)
    bits = sum(theirs for theirs, ours in special if mode & ours)
    return mode & 0o777 | bits | kinds.get(stat.S_IFMT(mode), 0)


def _unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
