"""The engine itself: ping, version, info."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.app import NEWEST, OLDEST, VERSION
from estiva.engine import system

if TYPE_CHECKING:
    from estiva.api.app import Api, Route


async def ping(api: Api, request: web.Request) -> web.Response:
    headers = {
        "Builder-Version": "2",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Swarm": "inactive",
    }
    return web.Response(text="" if request.method == "HEAD" else "OK", headers=headers)


def _version() -> dict[str, Any]:
    found = system.version()
    uname = os.uname()
    newest, oldest = (".".join(map(str, each)) for each in (NEWEST, OLDEST))
    details = {
        "ApiVersion": newest,
        "Arch": found["Arch"],
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"python{found['PythonVersion']}",
        "KernelVersion": uname.release,
        "MinAPIVersion": oldest,
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "Estiva"},
        "Components": [{"Name": "Engine", "Version": found["Version"], "Details": details}],
        "Version": VERSION,
        **{name: value for name, value in details.items() if name != "Experimental"},
    }


async def version(api: Api, request: web.Request) -> web.Response:
    return answers.json(await api.work.do(_version))


async def info(api: Api, request: web.Request) -> web.Response:
    return answers.json({**await api.work.do(system.info, api.engine), "ServerVersion": VERSION})


ROUTES: tuple[Route, ...] = (
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
)
