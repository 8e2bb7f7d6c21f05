"""What the builds of one server share: who is connected, and results that are known by their names."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from estiva.api.buildkit import messages
from estiva.api.buildkit.rpc import UNIMPLEMENTED, RpcError
from estiva.api.buildkit.session import Sessions
from estiva.engine.builds.begins import is_repository
from estiva.engine.networks import look
from estiva.errors import EstivaError, InvalidInput
from estiva.oci.platform import Platform
from estiva.version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from estiva.api.app import Api
    from estiva.api.buildkit.http2 import Call
    from estiva.engine import Engine

    Method: TypeAlias = Callable[[Call], Awaitable[None]]

RESULTS = 1000  # for contexts of other builds
FRONTEND = "dockerfile.v0"
SCHEME = "estiva-result://"  # of the only operation in a result's definition: no LLB, but a name
PACKAGE = "github.com/moby/buildkit"
SPOKEN = "v0.13.2"  # the version of BuildKit whose protocol this is
VERSION = {"package": PACKAGE, "version": SPOKEN, "revision": f"estiva-{__version__}"}
WORKER = "estiva"


class Result(Protocol):
    """What a gateway client has asked for (solve.py)."""

    name: str

    def result(self) -> dict[str, Any]:
        """As the client has it: a name, and a definition that gives that name back to us."""
        ...

    async def solve(self, exporters: list[dict[str, Any]], cache_to: list[dict[str, Any]]) -> dict[str, str]:
        """Build and give back. Raises RpcError."""
        ...

    async def evaluate(self) -> str:
        """Build it, once; the image's id. Raises RpcError."""
        ...


def repository(definition: dict[str, Any]) -> str:
    """The address of LLB that is one git source, or a folder of it, and nothing else; "" for all other: so a
    client names a repository with bake files, and the folder of a target in it."""
    try:
        operations = [messages.OP.decode(data) for data in definition.get("def", [])]
    except InvalidInput:
        return ""
    sources = [each["source"] for each in operations if "source" in each]
    copies = [action for each in operations for action in each.get("file", {}).get("actions", [])]
    files = sum("file" in each for each in operations)
    if len(sources) != 1 or len(copies) != files or files > 1 or len(operations) != 2 + files:
        return ""  # the last operation only says which is meant
    identifier, attrs = sources[0].get("identifier", ""), sources[0].get("attrs", {})
    folder = copies[0].get("copy", {}).get("src", "").strip("/") if copies else ""
    inside = bool(folder) and copies[0].get("copy", {}).get("dest") == "/"
    if not identifier.startswith("git://") or bool(copies) != inside:
        return ""
    place, ref = attrs.get("git.fullurl") or identifier, identifier.partition("#")[2]
    ref, _, above = ref.partition(":")
    folder = "/".join(word for word in (above.strip("/"), folder) if word)
    place = place.partition("#")[0] + (f"#{ref}:{folder}" if folder else f"#{ref}" if ref else "")
    return place if is_repository(place) else ""


class Kit:
    """One server's."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.sessions = Sessions()
        self.results: OrderedDict[str, Result] = OrderedDict()

    def keep(self, result: Result) -> None:
        self.results[result.name] = result
        while len(self.results) > RESULTS:
            self.results.popitem(last=False)

    def named(self, definition: dict[str, Any]) -> Result | None:
        """The result that a definition stands for: those that we give say it by their only operation. None
        for an empty one. Raises RpcError for LLB."""
        for data in definition.get("def", []):
            try:
                place = messages.OP.decode(data).get("source", {}).get("identifier", "")
            except InvalidInput:
                place = ""
            if place.startswith(SCHEME) and place.removeprefix(SCHEME) in self.results:
                return self.results[place.removeprefix(SCHEME)]
        if definition.get("def"):
            raise RpcError(UNIMPLEMENTED, f"LLB can't be solved here: there is the frontend {FRONTEND}")
        return None

    def worker(self) -> dict[str, Any]:
        """What buildx chooses by: the label of a snapshotter says that images may have several platforms, be
        layouts and carry attestations."""
        labels = {
            "org.mobyproject.buildkit.worker.executor": "estiva",
            "org.mobyproject.buildkit.worker.hostname": os.uname().nodename,
            "org.mobyproject.buildkit.worker.moby.host-gateway-ip": _gateway(self.api.engine),
            "org.mobyproject.buildkit.worker.network": "host",
            "org.mobyproject.buildkit.worker.snapshotter": self.api.engine.store.layers.driver,
        }
        host = Platform.host().written()
        platform = {name: host.get(name, "") for name in ("architecture", "os", "variant")}
        return {"id": WORKER, "labels": labels, "platforms": [platform], "version": VERSION}


def _gateway(engine: Engine) -> str:
    """What --add-host NAME:host-gateway means: where this machine is on the default bridge."""
    try:
        configs = look.inspect(engine, "bridge")["IPAM"]["Config"]
        return next((str(each["Gateway"]) for each in configs if "." in each.get("Gateway", "")), "")
    except EstivaError:
        return ""
