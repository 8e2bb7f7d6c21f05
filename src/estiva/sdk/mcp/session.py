"""One client's sandbox: a box with profile="untrusted", made when it is first used, ended with the client.

What comes from the box is hostile, and what the client sends is a model's: all of it is bounded. The tools
are methods, whose docstrings and types the client's model reads. Several may be under way at once; one whose
task is cancelled ends at once, with all that it has started, and the box goes on.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from estiva.errors import Conflict, EstivaError, InvalidInput, NotFound, brief
from estiva.sdk.aio.containers import container
from estiva.sdk.result import CommandTimeout, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from estiva.sdk.aio.container import Container
    from estiva.sdk.engine import Engine

    Block = AbstractAsyncContextManager[Container]

LONGEST = 600.0  # seconds of a command, at most
FILE = 1 << 20  # bytes of a file, read or written at once
ENTRIES = 1000  # of a folder
SNAPSHOTS = 8
KEPT = 256 << 20  # bytes of a snapshot: holes of files count, which the box has for nothing
COMMAND = 256 << 10  # bytes of a command, of code, or of its input
NAME = 64
DEEP = 100  # of lists and dicts in each other that are told as such


class Session:
    """`options` are keywords of `estiva.container`, beside the profile. `timeout`: seconds of a command
    for which none is said; `output`: bytes of each of stdout and stderr that a client is told."""

    def __init__(
        self, engine: Engine, image: str, options: dict[str, Any], *, timeout: float, output: int
    ) -> None:
        self.engine = engine
        self.image = image
        self.options = options
        self.timeout = timeout
        self.output = output
        self._lock = asyncio.Lock()  # of the box, which comes and goes
        self._own: tuple[Block, Container] | None = None
        self._snapshots: dict[str, IO[bytes]] = {}

    # -- the box

    async def box(self) -> Container:
        """The box, begun now if there is none. Raises Conflict, which says why, if it has ended."""
        async with self._lock:
            return await self._present()

    async def _present(self) -> Container:
        """`box`, for who holds the lock."""
        if self._own is None:
            self._own = await self._begun()
        box = self._own[1]
        if not await box.running:
            end = await box.exit
            raise Conflict(
                f"the sandbox has ended: {end.meaning if end else 'it is not known why'}",
                hint="reset makes a new one, without files",
            )
        return box

    async def _begun(self) -> tuple[Block, Container]:
        block = container(self.image, profile="untrusted", engine=self.engine, **self.options)
        return block, await block.__aenter__()

    async def _anew(self, files: IO[bytes] | None = None) -> None:
        """Go on in a fresh box, with these files; the old one ends once there is that."""
        block, box = await self._begun()
        try:
            if files is not None:
                files.seek(0)
                await box.put_archive(await _folder(box), files)
        except BaseException:
            await block.__aexit__(None, None, None)
            raise
        old, self._own = self._own, (block, box)
        if old is not None:
            await old[0].__aexit__(None, None, None)

    async def close(self) -> None:
        """End the box, and forget the snapshots."""
        async with self._lock:
            own, self._own = self._own, None
            while self._snapshots:
                self._snapshots.popitem()[1].close()
            if own is not None:
                await own[0].__aexit__(None, None, None)

    # -- tools

    async def exec(
        self, command: str | list[str], timeout: float | None = None, workdir: str = "", stdin: str = ""
    ) -> dict[str, Any]:
        """Run a command in the sandbox and wait for its end. A text goes to /bin/sh, a list of words is
        executed as it is. Files stay from one call to the next, processes left in the background too. After
        `timeout` seconds it is killed. Gives status (128+n: killed by signal n), stdout, stderr."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        if not words or not words[0]:
            raise InvalidInput("the command is empty")
        return await self._run(words, timeout, workdir, stdin)

    async def run_python(self, code: str, timeout: float | None = None) -> dict[str, Any]:
        """Run Python code in the sandbox, with the image's python3. Names that it makes are not there in the
        next call, files are. After `timeout` seconds it is killed. Gives value (of the last expression, where
        it is JSON, else repr), stdout, stderr, and error (type, message, traceback) if it raised one."""
        if len(code) > COMMAND:
            raise InvalidInput(f"the code has {COMMAND} letters at most", hint="write a file")
        span = self._span(timeout)
        told: dict[str, Any] = {}
        try:
            done = await (await self.box()).python.run(code, timeout=span, max_output=self.output)
        except CommandTimeout as late:
            return self._told(late, {"killed": f"its time was over, after {span:g} seconds"})
        shown = done.repr
        if _tellable(done.value):
            told["value"] = done.value
        else:
            told["value"], shown = None, repr(done.value)
        if told["value"] is None and shown not in ("", "None"):
            told["repr"] = _clean(shown)
        if done.error is not None:
            told["error"] = {key: _clean(text) for key, text in dataclasses.asdict(done.error).items()}
        told.update(stdout=done.stdout, stderr=done.stderr, seconds=round(done.seconds, 3))
        if done.truncated:
            told["truncated"] = f"only the first {self.output} bytes of each are told"
        return told

    async def files_read(self, path: str, encoding: str = "utf-8") -> dict[str, Any]:
        """Read a file of the sandbox, of 1 MiB at most. encoding: utf-8, or base64 for bytes of any kind."""
        _encoding(encoding)
        box = await self.box()
        data = await box.files.read(await _path(box, path), limit=FILE)
        if encoding == "base64":
            return {"content": base64.b64encode(data).decode(), "size": len(data)}
        return {"content": data.decode("utf-8", "replace"), "size": len(data)}

    async def files_write(
        self, path: str, content: str, encoding: str = "utf-8", executable: bool = False
    ) -> str:
        """Write a file of the sandbox, in its working folder or /tmp; parents are made. encoding: utf-8, or
        base64 for bytes of any kind."""
        _encoding(encoding)
        try:
            data = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
        except ValueError:
            raise InvalidInput("the content is not base64, or not text") from None
        if len(data) > FILE:
            raise InvalidInput(f"{len(data)} bytes are more than a file may have at once ({FILE})")
        box = await self.box()
        await box.files.write(await _path(box, path), data, mode=0o755 if executable else 0o644)
        return f"{len(data)} bytes written"

    async def files_list(self, path: str = "") -> dict[str, Any]:
        """List a folder of the sandbox, its working folder if none is named."""
        box = await self.box()
        found = await box.files.list(await _path(box, path))
        listed = [
            {
                "name": brief(one.name, 255),
                "kind": one.kind,
                "size": one.size,
            }
            for one in found[:ENTRIES]
        ]
        return {"entries": listed, "left_out": max(0, len(found) - ENTRIES)}

    async def snapshot(self, name: str) -> str:
        """Keep the files of the working folder under a name, for fork: not processes, nor /tmp."""
        if not name or len(name) > NAME or not name.isprintable():
            raise InvalidInput("a snapshot has a short name")
        async with self._lock:
            if name not in self._snapshots and len(self._snapshots) >= SNAPSHOTS:
                raise Conflict(f"there are {SNAPSHOTS} snapshots already", hint="give one of their names")
            kept = tempfile.TemporaryFile()
            try:
                box = await self._present()
                room: Any = _Room(kept)
                await box.get_archive(await _folder(box) + "/.", room)
            except BaseException:
                kept.close()
                raise
            old = self._snapshots.get(name)
            self._snapshots[name] = kept
            if old is not None:
                old.close()
        return f"kept as {name}"

    async def fork(self, name: str) -> str:
        """Go on in a fresh sandbox with the files of a snapshot; the present one ends. The snapshot stays: so
        things can be tried again from the same state."""
        async with self._lock:
            kept = self._snapshots.get(name)
            if kept is None:
                raise NotFound(f"there is no snapshot {brief(name, NAME)}", hint="snapshot makes one")
            await self._anew(kept)
        return f"a fresh sandbox, with the files of {name}"

    async def reset(self) -> str:
        """End the sandbox, with all its processes and files, and begin a fresh one. Snapshots stay."""
        async with self._lock:
            await self._anew()
        return "a fresh sandbox"

    TOOLS = ("exec", "run_python", "files_read", "files_write", "files_list", "snapshot", "fork", "reset")

    # -- their parts

    async def _run(self, words: list[str], timeout: float | None, workdir: str, stdin: str) -> dict[str, Any]:
        if sum(map(len, words)) + len(stdin) > COMMAND:
            raise InvalidInput(f"a command and its input have {COMMAND} letters at most", hint="write a file")
        span = self._span(timeout)
        begun = time.monotonic()
        told: dict[str, Any] = {}
        done: Result | CommandTimeout
        box = await self.box()
        try:
            done = await box.exec(
                words,
                input=stdin,
                timeout=span,
                max_output=self.output,
                workdir=await _path(box, workdir) if workdir else "",
            )
            told["status"] = done.status
            if done.oom:
                told["killed"] = "it ran out of memory"
        except CommandTimeout as late:
            done = late
            told.update(status=137, killed=f"its time was over, after {span:g} seconds")
        told["seconds"] = round(time.monotonic() - begun, 3)
        return self._told(done, told)

    def _span(self, timeout: float | None) -> float:
        span = self.timeout if timeout is None else timeout
        if not 0 < span <= LONGEST:
            raise InvalidInput(f"the timeout is more than 0, and {LONGEST:.0f} seconds at most")
        return span

    def _told(self, done: Result | CommandTimeout, told: dict[str, Any]) -> dict[str, Any]:
        """With what was written."""
        told["stdout"] = done.stdout.decode("utf-8", "replace")
        told["stderr"] = done.stderr.decode("utf-8", "replace")
        if done.truncated:
            told["truncated"] = f"only the first {self.output} bytes of each are told"
        return told


async def _folder(box: Container) -> str:
    """Its working folder."""
    return str((await box.inspect())["Config"]["WorkingDir"])


async def _path(box: Container, path: str) -> str:
    return path if path.startswith("/") else f"{await _folder(box)}/{path}"


class _Room:
    """A file of the host that takes KEPT bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.left = KEPT

    def write(self, data: Any) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise InvalidInput(f"the files of a snapshot have {KEPT >> 20} MiB at most, holes in them too")
        return self.file.write(data)


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which UTF-8 does not have."""
    return text.encode("utf-8", "backslashreplace").decode()


def _tellable(value: Any) -> bool:
    """Whether JSON in UTF-8 can say it: no halves of surrogate pairs, and not nested too deep."""
    level = [value]
    for _ in range(DEEP):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [*each, *each.values()]
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, str) and _clean(each) != each:
                return False
        if not inner:
            return True
        level = inner
    return False


def _encoding(text: str) -> None:
    if text not in ("utf-8", "base64"):
        raise InvalidInput(f"there is no encoding {brief(text, 40)}", hint="utf-8 or base64")


@contextlib.asynccontextmanager
async def begun(session: Session) -> AsyncIterator[Session]:
    """A session that ends with the block."""
    try:
        yield session
    finally:
        with contextlib.suppress(EstivaError, OSError):
            await session.close()
