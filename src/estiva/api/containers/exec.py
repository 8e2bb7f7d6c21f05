"""Execs: made, started, looked at (engine/containers/execs/kept.py). One that runs lasts, whoever listens."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers, hijack, streaming
from estiva.api.app import api_version
from estiva.api.containers import streams, words
from estiva.engine.containers import attach as attaching
from estiva.engine.containers.execs import kept as execs
from estiva.engine.state import eventlog
from estiva.errors import Conflict, EstivaError, InvalidInput, NotFound, brief

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine
    from estiva.engine.containers.execs.kept import Kept
    from estiva.engine.state.execs import Asked, Standing

NAMES = (
    *("Cmd", "Env", "User", "WorkingDir", "Tty", "Privileged", "DetachKeys", "ConsoleSize", "Detach"),
    *("AttachStdin", "AttachStdout", "AttachStderr"),
)
CASELESS = {name.lower(): name for name in NAMES}
REMEMBERED, LONG = 64, 1 << 16  # execs, and characters of a command
KILLED = 137  # what ends with its container
SIZED = (1, 42)  # the version from which on a console size counts


def _known(given: dict[str, Any]) -> dict[str, Any]:
    """A body by Docker's names, which it reads without regard to case: docker-py says detachKeys."""
    return {CASELESS[name.lower()]: value for name, value in given.items() if name.lower() in CASELESS}


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text")
    return value


def _texts(given: dict[str, Any], name: str) -> list[str]:
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidInput(f"{name} must be a list of words")
    return value


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false")
    return bool(value)


def _size(given: dict[str, Any], request: web.Request) -> list[int]:
    value = given.get("ConsoleSize")
    if value is None or api_version(request) < SIZED:
        return []
    if not isinstance(value, list) or len(value) != 2 or not all(type(each) is int for each in value):
        raise InvalidInput("ConsoleSize must be a height and a width")
    return [min(max(each, 0), 65535) for each in value]


def asked_of(given: dict[str, Any], request: web.Request) -> Asked:
    """What a request to create one asks for. Raises InvalidInput."""
    argv = _texts(given, "Cmd")
    if not argv:
        raise InvalidInput("No exec command specified")
    keys = _text(given, "DetachKeys")
    try:
        detach_keys = attaching.keys(keys) if keys else ""
    except InvalidInput:
        raise InvalidInput(f"Invalid escape keys ({brief(keys, 60)}) provided") from None
    return {
        "argv": argv,
        "env": _texts(given, "Env"),
        "user": _text(given, "User"),
        "workdir": _text(given, "WorkingDir"),
        "tty": _flag(given, "Tty"),
        "privileged": _flag(given, "Privileged"),
        "stdin": _flag(given, "AttachStdin"),
        "stdout": _flag(given, "AttachStdout"),
        "stderr": _flag(given, "AttachStderr"),
        "detach_keys": detach_keys,
        "size": _size(given, request),
    }


def _create(engine: Engine, ref: str, asked: Asked) -> str:
    record = streaming.record_of(engine, ref)
    _refuse(record["State"]["Status"], record["Id"], ref)
    return execs.create(engine, record["Id"], asked)


def _refuse(status: str, container_id: str, ref: str = "") -> None:
    """Raise Conflict, in Docker's words, for a container that runs nothing now; `ref`: as it was named."""
    if status == "paused":
        raise Conflict(f"Container {ref or container_id} is paused, unpause the container before exec")
    if status == "restarting":
        raise Conflict(f"container {container_id} is restarting, wait until the container is running")
    if status != "running":
        raise Conflict(f"container {container_id} is not running")


async def create(api: Api, request: web.Request) -> web.Response:
    asked = asked_of(_known(await answers.body(request)), request)
    made = await api.work.do(_create, api.engine, request.match_info["id"], asked)
    return answers.json({"Id": made}, 201)


def _find(engine: Engine, exec_id: str) -> Kept:
    try:
        return execs.find(engine, exec_id)
    except NotFound:
        raise NotFound(f"No such exec instance: {brief(exec_id, 80)}") from None


def _ready(engine: Engine, exec_id: str) -> Kept:
    """One whose container can run something. Raises NotFound, Conflict."""
    found = _find(engine, exec_id)
    _refuse(streaming.record_of(engine, found.container)["State"]["Status"], found.container)
    return found


async def start(api: Api, request: web.Request) -> web.StreamResponse:
    given = _known(await answers.body(request))
    tty = _flag(given, "Tty")
    size = _size(given, request) if tty else []
    detached = _flag(given, "Detach")
    found = await api.work.do(_find, api.engine, request.match_info["id"])
    if detached:
        await api.work.do(_ready, api.engine, found.id)
        await api.work.long_do(execs.start, api.engine, found, (), size)
        return web.Response()
    asked = found.asked
    names = ("stdin", "stdout", "stderr")
    wanted = frozenset(number for number, name in enumerate(names) if asked[name])  # type: ignore[literal-required]
    keys = asked["detach_keys"].encode() or streaming.DETACH
    terms = streaming.Terms(wanted, not tty, asked["tty"], True, keys)
    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.setblocking(False)
    try:
        stream = hijack.take_over(request, framed=not tty and api_version(request) >= streaming.FRAMED)
        try:
            try:
                await api.work.do(_ready, api.engine, found.id)
                await api.work.long_do(_start, api.engine, found, theirs, size)
            except EstivaError as error:
                text = f"{words.capital(error.message)}\r\n".encode()
                with contextlib.suppress(ConnectionError):
                    await stream.write(text if tty else streaming.framed(1, text))
            else:
                if await streams.relay(stream, channel, terms):
                    await api.work.do(_left, api.engine, found)
                _remember(api, found, await api.work.do(found.standing))
        finally:
            stream.close()
    finally:
        channel.close()
    await stream.closed()
    return web.Response()


def _start(engine: Engine, found: Kept, guest: socket.socket, size: list[int]) -> None:
    """In a thread, which goes on though the client has gone: so the socket is its own."""
    with guest:
        execs.start(engine, found, (guest.fileno(),), size)


def _left(engine: Engine, found: Kept) -> None:
    record = streaming.record_of(engine, found.container)
    eventlog.container(engine.paths, record, "exec_detach", execID=found.id)


def _remember(api: Api, found: Kept, standing: Standing) -> None:
    """For its client, who asks for the exit status next: the container may have gone by then, with all that
    was known of it. The last few, and none that is long."""
    if sum(map(len, found.asked["argv"])) > LONG:
        return
    if standing["status"] is None:
        standing = {**standing, "running": False, "status": KILLED, "pid": 0}
    while len(api.execs) >= REMEMBERED:
        del api.execs[next(iter(api.execs))]
    api.execs[found.id] = _shown(found, standing)


def _inspect(api: Api, exec_id: str) -> dict[str, Any]:
    try:
        found = _find(api.engine, exec_id)
    except NotFound:
        if exec_id in api.execs:
            return api.execs[exec_id]
        raise
    return _shown(found, found.standing())


def _shown(found: Kept, standing: Standing) -> dict[str, Any]:
    asked = found.asked
    return {
        "ID": found.id,
        "Running": standing["running"],
        "ExitCode": standing["status"],
        "ProcessConfig": {
            "tty": asked["tty"],
            "entrypoint": asked["argv"][0],
            "arguments": asked["argv"][1:],
            "privileged": asked["privileged"],
            **({"user": asked["user"]} if asked["user"] else {}),
        },
        "OpenStdin": asked["stdin"],
        "OpenStderr": asked["stderr"],
        "OpenStdout": asked["stdout"],
        "CanRemove": False,
        "ContainerID": found.container,
        "DetachKeys": _base64(asked["detach_keys"]),
        "Pid": standing["pid"],
    }


def _base64(keys: str) -> str:
    import base64

    return base64.b64encode(keys.encode()).decode()


async def inspect(api: Api, request: web.Request) -> web.Response:
    return answers.json(await api.work.do(_inspect, api, request.match_info["id"]))


def _resize(engine: Engine, exec_id: str, rows: int, columns: int) -> None:
    execs.resize(engine, _ready(engine, exec_id), rows, columns)


async def resize(api: Api, request: web.Request) -> web.Response:
    await api.work.do(_resize, api.engine, request.match_info["id"], *streams.size_of(request))
    return web.Response()


ROUTES: tuple[Route, ...] = (
    ("POST", "/containers/{id}/exec", create),
    ("POST", "/exec/{id}/start", start),
    ("POST", "/exec/{id}/resize", resize),
    ("GET", "/exec/{id}/json", inspect),
)
