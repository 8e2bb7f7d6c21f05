"""Swarm, its nodes, services, tasks, secrets and configs, and plugins: what docker answers on a machine that
is not in a swarm and has no plugins (docs/api.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers
from estiva.errors import Missing, Unsupported, oneline

if TYPE_CHECKING:
    from estiva.api.app import Api, Handler, Route

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to'
    " swarm and try again."
)
NO_MEMBER = "This node is not part of a swarm"


def _says(text: str, status: int) -> Handler:
    async def answer(api: Api, request: web.Request) -> web.Response:
        return answers.json({"message": text}, status)

    return answer


async def refuse(api: Api, request: web.Request) -> web.Response:
    await answers.body(request)
    raise Unsupported("swarm is not supported: Estiva has no cluster")


async def plugins(api: Api, request: web.Request) -> web.Response:
    answers.filters(request)
    return answers.json([])


async def plugin(api: Api, request: web.Request) -> web.Response:
    raise NotThere(request.match_info["name"])


class NotThere(Missing):
    """Docker's words."""

    def __init__(self, name: str) -> None:
        super().__init__("plugin", name)
        self.message = f'plugin "{oneline(name)}" not found'


async def no_plugins(api: Api, request: web.Request) -> web.Response:
    raise Unsupported("plugins are not supported: volumes, networks and logs are Estiva's own")


def _unmanaged() -> tuple[Route, ...]:
    """All that only a manager can answer."""
    some = [
        ("GET", "/swarm"),
        ("GET", "/swarm/unlockkey"),
        ("POST", "/swarm/unlock"),
        ("POST", "/swarm/update"),
        ("GET", "/services/{id}/logs"),
    ]
    for kind in ("nodes", "services", "tasks", "secrets", "configs"):
        some += [("GET", f"/{kind}"), ("GET", f"/{kind}/{{id}}")]
        if kind == "tasks":
            some += [("GET", "/tasks/{id}/logs")]
            continue
        some += [("DELETE", f"/{kind}/{{id}}"), ("POST", f"/{kind}/{{id}}/update")]
        if kind != "nodes":
            some += [("POST", f"/{kind}/create")]
    answer = _says(NO_MANAGER, 503)
    return tuple((method, path, answer) for method, path in some)


ROUTES: tuple[Route, ...] = (
    ("POST", "/swarm/init", refuse),
    ("POST", "/swarm/join", refuse),
    ("POST", "/swarm/leave", _says(NO_MEMBER, 503)),
    *_unmanaged(),
    ("GET", "/plugins", plugins),
    ("GET", "/plugins/privileges", no_plugins),
    ("POST", "/plugins/pull", no_plugins),
    ("POST", "/plugins/create", no_plugins),
    ("GET", "/plugins/{name:.+}/json", plugin),
    ("DELETE", "/plugins/{name:.+}", plugin),
    *(("POST", f"/plugins/{{name:.+}}/{verb}", plugin) for verb in ("enable", "disable", "upgrade")),
    *(("POST", f"/plugins/{{name:.+}}/{verb}", plugin) for verb in ("push", "set")),
)
