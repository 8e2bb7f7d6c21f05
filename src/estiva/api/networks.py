"""Networks (Engine API, Network): docker's shapes and words over `engine/networks`."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.engine.networks import asked as judging
from estiva.engine.networks import connect as joining
from estiva.engine.networks import create as making
from estiva.engine.networks import look, remove
from estiva.engine.state import lookup
from estiva.errors import Conflict, InvalidInput, NotFound, brief, oneline
from estiva.oci import rules
from estiva.oci.rules import EACH, EACH_SAID, ONLY

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine

PREDEFINED = ("bridge", "host", "none")
_WORDS = {EACH_SAID: "string"}
CREATE: dict[str, Any] = {  # NetworkCreateRequest
    ONLY: None,
    "Name": "string",
    "CheckDuplicate": "bool",
    "Driver": "string",
    "Scope": "string",
    "Internal": "bool",
    "Attachable": "bool",
    "Ingress": "bool",
    "ConfigOnly": "bool",
    "ConfigFrom": {ONLY: None, "Network": "string"},
    "EnableIPv4": "bool",
    "EnableIPv6": "bool",
    "IPAM": {
        ONLY: None,
        "Driver": "string",
        "Options": _WORDS,
        "Config": [
            {
                ONLY: None,
                "Subnet": "string",
                "IPRange": "string",
                "Gateway": "string",
                "AuxiliaryAddresses": {EACH: "string"},
            }
        ],
    },
    "Options": _WORDS,
    "Labels": _WORDS,
}


def refuse(text: str) -> web.HTTPForbidden:
    """Docker's status for what networks are not allowed."""
    return web.HTTPForbidden(reason=oneline(text))


def find(engine: Engine, ref: str) -> dict[str, Any]:
    """A network by name or id. Raises NotFound in docker's words."""
    try:
        return look.find(engine, ref)
    except NotFound:
        raise NotFound(f"network {oneline(ref)} not found") from None


async def listing(api: Api, request: web.Request) -> web.Response:
    return answers.json(await api.work.do(look.listing, api.engine, answers.filters(request)))


async def inspect(api: Api, request: web.Request) -> web.Response:
    ref = request.match_info["id"]
    scope = request.query.get("scope", "")

    def inspected() -> dict[str, Any]:
        if scope not in ("", "local"):
            raise NotFound(f"network {oneline(ref)} not found")
        item = find(api.engine, ref)
        return look.inspect(api.engine, item["Name"] if item["Name"] in PREDEFINED else item["Id"])

    return answers.json(await api.work.do(inspected))


async def create(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    rules.check(given, CREATE, "NetworkCreateRequest")
    name = given.get("Name") or ""
    _refuse_swarm(given)
    asked, warning = wished(given)

    def made() -> str:
        if not name.strip():
            raise InvalidInput("invalid name: ")
        if name in PREDEFINED:
            raise refuse(f"operation is not permitted on predefined {name} network ")
        try:
            return making.create(api.engine, name, asked)
        except Conflict as error:
            if any(item["Name"] == name for item in look.listing(api.engine, {"name": [name]})):
                raise  # 409; what it would overlap with is 403
            raise refuse(f"Pool overlaps with other one on this address space: {error.message}") from None

    return answers.json({"Id": await api.work.do(made), "Warning": warning}, 201)


def _refuse_swarm(given: dict[str, Any]) -> None:
    if given.get("Ingress"):
        raise refuse("Ingress network can only be global scope network")
    if given.get("Scope") not in (None, "", "local"):
        raise refuse(f"cannot create a {brief(given['Scope'], 20)} scoped network when swarm is not active")
    if given.get("ConfigOnly") or (given.get("ConfigFrom") or {}).get("Network"):
        raise refuse("configuration networks (ConfigOnly, ConfigFrom) are not supported")
    if given.get("EnableIPv4") is False:
        raise refuse("EnableIPv4=false is not supported: every network has IPv4 addresses")


def wished(given: dict[str, Any]) -> tuple[judging.Asked, str]:
    """What a request asks the engine for, and a warning of what has no effect. Raises InvalidInput."""
    asked = judging.Asked()
    asked.driver = given.get("Driver") or "bridge"
    if asked.driver not in (*judging.DRIVERS, "host", "null"):
        raise NotFound(f'plugin "{brief(asked.driver, 60)}" not found')
    asked.internal = bool(given.get("Internal"))
    asked.attachable = bool(given.get("Attachable"))
    asked.ipv6 = bool(given.get("EnableIPv6"))
    asked.options = dict(given.get("Options") or {})
    asked.labels = dict(given.get("Labels") or {})
    ipam = given.get("IPAM") or {}
    if ipam.get("Driver") not in (None, "", "default"):
        raise InvalidInput(
            f"the IPAM driver {brief(ipam['Driver'], 60)} is not known: default is the only one"
        )
    asked.ipam_options = ipam.get("Options")
    for config in ipam.get("Config") or ():
        subnet, part, gateway = (config.get(key) or "" for key in ("Subnet", "IPRange", "Gateway"))
        if (subnet or part or gateway or config.get("AuxiliaryAddresses")) and not _is_subnet(subnet):
            shown = brief(subnet, 60)
            raise InvalidInput(
                f"invalid network config:\ninvalid subnet {shown}: invalid CIDR block notation"
            )
        asked.subnets += [subnet] if subnet else []
        asked.ranges += [part] if part else []
        asked.gateways += [gateway] if gateway else []
        asked.auxiliary |= config.get("AuxiliaryAddresses") or {}
    unknown = sorted(asked.ipam_options or ())
    return asked, f"IPAM options have no effect: {brief(', '.join(unknown), 200)}" if unknown else ""


def _is_subnet(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


async def delete(api: Api, request: web.Request) -> web.Response:
    ref = request.match_info["id"]

    def removed() -> None:
        item = find(api.engine, ref)
        if item["Name"] in PREDEFINED:
            raise refuse(f"{item['Name']} is a pre-defined network and cannot be removed")
        try:
            remove.remove(api.engine, item["Id"])
        except NotFound:
            raise NotFound(f"network {oneline(ref)} not found") from None
        except Conflict as error:
            said = (
                f"error while removing network: network {item['Name']} id {item['Id']} has active endpoints"
            )
            raise refuse(f"{said}: {error.message}") from None

    await api.work.do(removed)
    return answers.nothing()


async def connect(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    rules.check(given, {ONLY: None, "Container": "string", "EndpointConfig": {}}, "ConnectRequest")
    endpoint = given.get("EndpointConfig") or {}

    def joined() -> None:
        container, network = _both(api.engine, given, request.match_info["id"])
        try:
            joining.connect(api.engine, network, container, endpoint)
        except Conflict as error:
            if error.message.endswith("already") and " is on network " in error.message:
                ref, of = brief(given["Container"], 100), brief(request.match_info["id"], 100)
                raise refuse(f"endpoint with name {ref} already exists in network {of}") from None
            raise refuse(error.message) from None

    await api.work.do(joined)
    return answers.nothing(200)


async def disconnect(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    rules.check(given, {ONLY: None, "Container": "string", "Force": "bool"}, "DisconnectRequest")

    def left() -> None:
        container, network = _both(api.engine, given, request.match_info["id"], bool(given.get("Force")))
        try:
            joining.disconnect(api.engine, network, container, force=bool(given.get("Force")))
        except NotFound as error:
            if " is not connected to network " not in error.message:
                raise
            of = brief(request.match_info["id"], 100)
            raise NotFound(f"container {container} is not connected to network {of}") from None
        except Conflict as error:
            raise refuse(error.message) from None

    await api.work.do(left)
    return answers.nothing(200)


def _both(engine: Engine, given: dict[str, Any], ref: str, force: bool = False) -> tuple[str, str]:
    """The container's id and the network's, or its name where that is all it has. Raises NotFound in docker's
    words."""
    name = given.get("Container") or ""
    if not name:
        raise InvalidInput('invalid name or ID supplied: ""')
    try:
        container = lookup.resolve(engine, name)["Id"]
    except NotFound:
        raise NotFound(f"No such container: {oneline(name)}") from None
    try:
        item = find(engine, ref)
    except NotFound:
        if force:
            return container, ref  # the network has gone before it
        raise
    return container, item["Name"] if item["Name"] in PREDEFINED else item["Id"]


async def prune(api: Api, request: web.Request) -> web.Response:
    names = await api.work.do(remove.prune, api.engine, answers.filters(request))
    return answers.json({"NetworksDeleted": names or None})


ROUTES: tuple[Route, ...] = (
    ("GET", "/networks", listing),
    ("GET", "/networks/", listing),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", delete),
    ("POST", "/networks/{id}/connect", connect),
    ("POST", "/networks/{id}/disconnect", disconnect),
)
