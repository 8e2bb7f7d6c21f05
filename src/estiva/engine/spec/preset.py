"""What the file of settings says of a container that is made, put to its HostConfig where nothing else was
asked for. Loaded only where there is such a file.
"""

from __future__ import annotations

from estiva import settings
from estiva.engine.spec import judge
from estiva.errors import EstivaError, InvalidInput
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DNS = {"dns": "Dns", "dns-search": "DnsSearch", "dns-opts": "DnsOptions"}


def fill(host: Any, known: dict[str, Any]) -> None:
    """Complete a HostConfig, before it is judged, with what `known` says: settings.read().

    Raises InvalidInput, Unsupported, which name the file.
    """
    added = wanted(known)
    try:
        judge.check(
            {"Image": "any"}, {key: value for key, value in added.items() if key != "Ulimits" or value}
        )
    except EstivaError as error:
        error.message = f"{settings.path()}: {error.message}"
        raise
    _limits(host, added.pop("Ulimits"))
    _log(host, added.pop("LogConfig"))
    for key, value in added.items():
        asked = host.get(key)
        if asked is None or asked == [] or (key == "ShmSize" and not asked):
            host[key] = value


def fill_names(host: Any, known: dict[str, Any]) -> None:
    """The name servers alone: for a step of a build."""
    fill(host, {key: known[key] for key in DNS if key in known})


def wanted(known: dict[str, Any]) -> dict[str, Any]:
    """The settings as a HostConfig."""
    found: dict[str, Any] = {name: list(known[key]) for key, name in DNS.items() if known.get(key)}
    if "init" in known:
        found["Init"] = known["init"]
    if "default-shm-size" in known:
        found["ShmSize"] = _bytes(known["default-shm-size"])
    limits = (known.get("default-ulimits") or {}).items()
    found["Ulimits"] = [{"Name": name, "Soft": one["Soft"], "Hard": one["Hard"]} for name, one in limits]
    found["LogConfig"] = {"Type": known.get("log-driver", ""), "Config": dict(known.get("log-opts") or {})}
    return found


def _bytes(value: int | str) -> int:
    try:
        found = value if isinstance(value, int) else units.size(value)
    except ValueError as error:
        raise InvalidInput(f"{settings.path()}: default-shm-size: {error}") from None
    if not found:
        raise InvalidInput(f"{settings.path()}: default-shm-size is 0")
    return found


def _limits(host: dict[str, Any], limits: list[dict[str, Any]]) -> None:
    """By name; a container's own come first."""
    own = host.get("Ulimits") or []
    if limits:
        asked = {limit.get("Name") for limit in own if isinstance(limit, dict)}
        host["Ulimits"] = [*own, *(limit for limit in limits if limit["Name"] not in asked)]


def _log(host: dict[str, Any], preset: dict[str, Any]) -> None:
    """As Docker's: the options are of the driver that is set, and complete what a container asks of that."""
    asked = host.get("LogConfig") or {}
    driver = preset["Type"] or "json-file"
    if asked.get("Type") in (None, "", driver) and (preset["Type"] or preset["Config"]):
        host["LogConfig"] = {"Type": driver, "Config": {**preset["Config"], **(asked.get("Config") or {})}}
