"""A container's life: started, ended, halted, renamed, removed. What may have to wait does so without a
thread (tasks.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers
from estiva.api.containers import words
from estiva.api.containers.tasks import drive
from estiva.engine import events
from estiva.engine.containers import control
from estiva.engine.containers import start as starting
from estiva.engine.networks import links
from estiva.engine.state import lookup
from estiva.errors import (
    Conflict,
    EngineError,
    EstivaError,
    InvalidInput,
    NameTaken,
    NotFound,
    brief,
    oneline,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.api.app import Api, Route

    Task = Generator[None, None, object]

CONDITIONS = ("not-running", "next-exit", "removed")
JUST_NOW = 10.0  # seconds
JSON_LEAST = 7  # bytes of a body that docker takes for some


def _starting(api: Api, ref: str) -> Generator[None, None, bool]:
    """Start a container, and hand on who is attached to it already; whether it did not run before."""
    begun = yield from starting.beginning(api.engine, ref)
    if begun is None:
        return False
    with begun:
        begun.guests += api.attaches.take(begun.id)
        try:
            begun.go(detach=True)
            while not begun.heard():
                yield
            begun.started()
        except EstivaError as error:
            raise words.unstarted(begun.record, error) from None
    return True


async def start(api: Api, request: web.Request) -> web.Response:
    if len(await answers.read(request, answers.BODY)) > JSON_LEAST:
        raise InvalidInput(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in"
            " v1.24"
        )
    if request.query.get("checkpoint"):
        raise InvalidInput("checkpoint is only supported in experimental mode")
    ref = request.match_info["id"]
    try:
        begun = await drive(api, _starting(api, ref))
    except Conflict as error:
        raise await api.work.do(words.refused, api.engine, ref, "start", error) from None
    return answers.nothing(204 if begun else 304)


async def stop(api: Api, request: web.Request) -> web.Response:
    ref, timeout = request.match_info["id"], answers.number(request, "t")
    record = await api.work.do(lookup.resolve, api.engine, ref)
    if not record["State"]["Running"]:
        return answers.nothing(304)
    signal = request.query.get("signal") or None
    task = control.stopping(api.engine, record["Id"], timeout=timeout, signal=signal)
    with api.ends.stopped(record["Id"]):
        await drive(api, _ending(task, "stop", ref), ends=record["Id"])
    return answers.nothing()


async def restart(api: Api, request: web.Request) -> web.Response:
    ref, timeout = request.match_info["id"], answers.number(request, "t")
    record = await api.work.do(lookup.resolve, api.engine, ref)
    task = control.restarting(
        api.engine,
        record["Id"],
        timeout=timeout,
        signal=request.query.get("signal") or None,
        starting=_begun_again(api, record["Id"]),
    )
    await drive(api, _ending(task, "restart", ref), ends=record["Id"])
    return answers.nothing()


def _begun_again(api: Api, container_id: str) -> Generator[None, None, None]:
    yield from _starting(api, container_id)


def _ending(task: Task, verb: str, ref: str) -> Task:
    try:
        return (yield from task)
    except InvalidInput as error:  # the signal: docker's answer is 500
        raise EngineError(f"cannot {verb} container: {oneline(ref)}: {error.message}") from None


async def kill(api: Api, request: web.Request) -> web.Response:
    ref, signal = request.match_info["id"], request.query.get("signal") or "KILL"
    try:
        await drive(api, control.killing(api.engine, ref, signal))
    except Conflict as error:
        raise await api.work.do(words.refused, api.engine, ref, "kill", error) from None
    except InvalidInput as error:
        raise InvalidInput(f"cannot kill container: {oneline(ref)}: {error.message}") from None
    except NotFound:
        raise NotFound(f"cannot kill container: {oneline(ref)}: No such container: {oneline(ref)}") from None
    return answers.nothing()


async def pause(api: Api, request: web.Request) -> web.Response:
    return await _halt(api, request, "pause", control.pausing(api.engine, request.match_info["id"]))


async def unpause(api: Api, request: web.Request) -> web.Response:
    return await _halt(api, request, "unpause", control.unpausing(api.engine, request.match_info["id"]))


async def _halt(api: Api, request: web.Request, verb: str, task: Task) -> web.Response:
    try:
        await drive(api, task)
    except Conflict as error:
        raise await api.work.do(words.refused, api.engine, request.match_info["id"], verb, error) from None
    return answers.nothing()


async def rename(api: Api, request: web.Request) -> web.Response:
    name = request.query.get("name", "")
    await api.work.do(_rename, api, request.match_info["id"], name.removeprefix("/"))
    return answers.nothing()


def _rename(api: Api, ref: str, name: str) -> None:
    record = lookup.resolve(api.engine, ref)
    if not name:
        raise InvalidInput("Neither old nor new names may be empty")
    if record["Name"] == "/" + name:
        raise InvalidInput("Renaming a container with the same name as its current name")
    try:
        control.rename(api.engine, record["Id"], name)
    except NameTaken as error:
        raise Conflict(f"Error when allocating new name: {words.taken(error).message}") from None
    except InvalidInput:
        raise InvalidInput(
            f"Error when allocating new name: Invalid container name (/{oneline(name)}), {words.ALLOWED}"
        ) from None


async def remove(api: Api, request: web.Request) -> web.Response:
    ref, force, volumes = request.match_info["id"], answers.flag(request, "force"), answers.flag(request, "v")
    if answers.flag(request, "link"):
        await api.work.do(lookup.resolve, api.engine, ref)
        raise EngineError("Conflict, cannot remove the default link name of the container")
    try:
        await drive(api, control.removing(api.engine, ref, force=force, volumes=volumes))
    except Conflict as error:
        raise await api.work.do(words.refused, api.engine, ref, "remove", error) from None
    return answers.nothing()


async def wait(api: Api, request: web.Request) -> web.StreamResponse:
    """The headers go out before the end: `docker run` starts the container when it has them."""
    ref, condition = request.match_info["id"], request.query.get("condition") or CONDITIONS[0]
    if condition not in CONDITIONS:
        raise InvalidInput(f'invalid condition: "{brief(condition, 60)}"')
    found = await api.work.do(lookup.resolve_if_there, api.engine, ref)
    await api.ends.begin()
    container_id = found["Id"] if found is not None else ref
    with api.ends.waiting(container_id, condition == "removed") as one:
        record = await api.work.do(lookup.resolve_if_there, api.engine, container_id)
        if record is None:
            return await _gone(api, ref, container_id)
        one.begins(record)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if condition != "not-running" or one.runs:
            await one.over.wait()
        await api.ends.gone(container_id)
        await response.write(b'{"StatusCode":%d}\n' % one.status)
    await response.write_eof()
    return response


async def _gone(api: Api, ref: str, container_id: str) -> web.Response:
    """To who starts a container that goes by itself, and asks for its end then (dockerode): it may be over by
    that time. Raises NotFound."""
    status = await api.work.do(events.ended, api.engine, container_id, JUST_NOW) if len(ref) == 64 else None
    if status is None:
        await api.work.do(lookup.resolve, api.engine, ref)
        raise NotFound(f"No such container: {oneline(ref)}")
    return answers.json({"StatusCode": status})


async def unlink(api: Api, request: web.Request) -> web.Response:
    """Of a link of the default bridge: CONTAINER/ALIAS."""
    if not answers.flag(request, "link"):
        raise NotFound(f"No such container: {oneline(request.path.partition('/containers/')[2])}")
    await api.work.do(links.unlink, api.engine, request.match_info["id"], request.match_info["alias"])
    return answers.nothing()


ROUTES: tuple[Route, ...] = words.routes(
    ("POST", "/containers/{id}/start", start),
    ("POST", "/containers/{id}/stop", stop),
    ("POST", "/containers/{id}/restart", restart),
    ("POST", "/containers/{id}/kill", kill),
    ("POST", "/containers/{id}/wait", wait),
    ("POST", "/containers/{id}/pause", pause),
    ("POST", "/containers/{id}/unpause", unpause),
    ("POST", "/containers/{id}/rename", rename),
    ("DELETE", "/containers/{id}", remove),
    ("DELETE", "/containers/{id}/{alias}", unlink),
)
