"""Errors about containers in docker's words, where the engine's own differ: clients compare them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from estiva.engine.state import lookup
from estiva.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    EngineError,
    EstivaError,
    InvalidInput,
    Missing,
    NameTaken,
    NotFound,
    PortTaken,
    oneline,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from estiva.api.app import Api, Handler, Route
    from estiva.engine import Engine
    from estiva.engine.state.types import Record

P = ParamSpec("P")
R = TypeVar("R")

ALLOWED = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


def routes(*found: Route) -> tuple[Route, ...]:
    """The same routes, where a container that there isn't is named as docker does."""
    return tuple((method, path, _spoken(handler)) for method, path, handler in found)


def _spoken(handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def answer(api: Api, request: web.Request) -> web.StreamResponse:
        try:
            return await handler(api, request)
        except Missing as error:
            if error.kind != "container":
                raise
            raise missing(error) from None

    return answer


# the engine's sentences that are others than docker's
SENTENCES = tuple(
    (re.compile(ours, re.S), theirs)
    for ours, theirs in (
        (
            r"you should always set the memory limit when using memory swap limit$",
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (r"range of cpus is from (.*) cpus available$", r"Range of CPUs is from \1 CPUs available"),
        (r"--ipc: invalid ipc mode:? '(.*)'$", r"invalid IPC mode: \1"),
        (
            r"invalid restart policy: '([^':]+)'$",
            r"invalid restart policy: unknown policy '\1'; use one of 'no', 'always', 'on-failure', "
            "or 'unless-stopped'",
        ),
        (
            r"invalid restart policy: 'on-failure:-\d+'$",
            "invalid restart policy: maximum retry count cannot be negative",
        ),
        (
            r"invalid restart policy: '.*:.*'$",
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (r"the runtime (.*) is not known here$", r"unknown or invalid runtime name: \1"),
        (
            r"logger: no log driver named '(.*)' is registered$",
            r'error looking up logging plugin \1: plugin "\1" not found',
        ),
        (
            r"there is no (user|group) '(.*)' in the image's /etc/(\w+)$",
            r"unable to find \1 \2: no matching entries in \3 file",
        ),
        (r"(network .* not found): it was removed$", r"\1"),
        (r"address \S+ (?:of|is already in use in) network .*$", "Address already in use"),
        (
            r"address (\S+) is not of subnet .* of network (.*)$",
            r"invalid config for network \2: invalid endpoint settings:\n"
            r"no configured subnet or ip-range contain the IP address \1",
        ),
        (r"make the working directory: \S+ (/.*): not a directory$", r"Cannot mkdir: \1 is not a directory"),
        (
            r"no (?:(.*) )?gpu is known here$",
            r'could not select device driver "\1" with capabilities: [[gpu]]',
        ),
        (r"(invalid mode: \S+) (?:in the volume|of volumes-from) .*$", r"\1"),
        (
            r'("(.*)" includes invalid characters .* are allowed); for a host directory use .*$',
            r"create \2: \1. If you intended to pass a host directory, use absolute path",
        ),
        (
            r"(invalid volume specification: '/.*'): mount path '(.*)' must be absolute$",
            r"""\1: invalid mount config for type "bind": """
            r"invalid mount path: '\2' mount path must be absolute",
        ),
        (
            r"device (.*) can't be used: (.*)$",
            r'error gathering device information while adding custom device "\1": \2',
        ),
        (
            r"a static IP address is supported on user defined networks only$",
            "invalid config for network bridge: invalid endpoint settings:\n"
            "* user specified IP address is supported on user defined networks only\n"
            "* user specified IP address is supported only when connecting to networks "
            "with user configured subnets",
        ),
    )
)

# how others begin, and docker's
BEGINNINGS = {
    "minimum memory": "Minimum memory",
    "the requested image's": "The requested image's",
    "requested CPUs": "Requested CPUs",
    "memory limit should": "Memory limit should",
    "range of cpus is": "Range of CPUs is",
    "cpu cfs": "CPU cfs",
    "you should always": "You should always",
    "shm size": "SHM size",
    "invalid value": "Invalid value",
    "--ipc: invalid ipc mode": "invalid IPC mode:",
    "--pid: invalid pid mode": "invalid PID mode:",
    "--uts: invalid uts mode": "invalid UTS mode:",
    "--cgroupns: invalid cgroupns mode": "invalid cgroup namespace mode:",
}


def capital(text: str) -> str:
    """A sentence as docker says or begins it."""
    for pattern, words in SENTENCES:
        if pattern.match(text):
            return pattern.sub(words, text)
    for ours, theirs in BEGINNINGS.items():
        if text.startswith(ours):
            return theirs + text[len(ours) :]
    return text


def capability(text: str, host: dict[str, Any]) -> str:
    """Docker says in which list a capability is that there isn't."""
    name, found, _ = text.partition(" is not a capability")
    if not found:
        return text
    key = "CapAdd" if name in (host.get("CapAdd") or ()) else "CapDrop"
    return f'invalid {key}: unknown capability: "CAP_{name.upper().removeprefix("CAP_")}"'


def missing(error: Missing) -> NotFound:
    return NotFound(f"No such container: {oneline(error.name)}")


def taken(error: NameTaken) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{error.name}" is already in use by container "{error.holder}".'
        " You have to remove (or rename) that container to be able to reuse that name."
    )


def refused(engine: Engine, ref: str, verb: str, error: Conflict) -> EstivaError:
    """Why a verb can't be done to a container, by the state that it is in; `error` itself if it is in none
    that would keep anybody from it."""
    record = lookup.resolve_if_there(engine, ref)
    if verb == "start":
        error.message = capital(error.message)
    if record is None and verb == "start":
        return error  # one of --rm is gone with that
    if record is None:
        return NotFound(f"No such container: {oneline(ref)}")
    text = _refusal(record, verb)
    if not text:
        return error
    if verb == "kill":
        text = f"cannot kill container: {oneline(ref)}: {text}"
    return EngineError(text) if verb == "unpause" else Conflict(text)


def _refusal(record: Record, verb: str) -> str:
    state, container_id = record["State"], record["Id"]
    if verb == "start":
        return "cannot start a paused container, try unpause instead" if state["Paused"] else ""
    if verb == "remove":
        why = {
            "paused": "is paused and must be unpaused first",
            "running": "is running: stop the container before removing or force remove",
            "restarting": "is restarting: stop the container before removing or force remove",
        }.get(state["Status"], "")
        return why and f'cannot remove container "{record["Name"]}": container {why}'
    if verb == "unpause":
        return f"Container {container_id} is not paused" if not state["Paused"] else ""
    if verb == "pause" and state["Paused"]:
        return f"Container {container_id} is already paused"
    if not state["Running"]:
        return f"container {container_id} is not running"
    if state["Restarting"]:
        return f"Container {container_id} is restarting, wait until the container is running"
    return ""


def unstarted(record: Record, error: EstivaError) -> EstivaError:
    """Why a container's command could not be started: docker's client makes 127 and 126 of these words."""
    if isinstance(error, PortTaken):
        return EngineError(
            f"driver failed programming external connectivity on endpoint {record['Name'].removeprefix('/')}:"
            f" {error.message}: port is already allocated"
        )
    if not isinstance(error, CommandNotFound | CommandNotExecutable):
        error.message = capital(error.message)
        return error
    text = f"failed to create task for container: {error.message}"
    if isinstance(error, CommandNotExecutable) and "permission denied" not in text:
        text += ": permission denied"
    return InvalidInput(text)


async def verb(
    api: Api, ref: str, name: str, call: Callable[P, R], *arguments: P.args, **keywords: P.kwargs
) -> R:
    """Do a verb to a container in a thread; docker's words where the state of that is what is wrong."""
    try:
        return await api.work.do(call, *arguments, **keywords)
    except Conflict as error:
        raise await api.work.do(refused, api.engine, ref, name, error) from None
