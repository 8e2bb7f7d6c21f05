"""Published ports: from Docker's HostConfig.PortBindings and Config.ExposedPorts to what the bridge
publishes.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wanted(config: dict[str, Any], host_config: dict[str, Any]) -> list[dict[str, str]]:
    """[{"HostIp", "HostPort", "ContainerPort", "Protocol"}]; HostPort "" asks for a free one (-P, -p 80)."""
    result = []
    bound = host_config.get("PortBindings") or {}
    for key, bindings in bound.items():
        port, protocol = split(key)
        for binding in bindings or [{}]:
            result.append(
                {
                    "HostIp": binding.get("HostIp") or "",
                    "HostPort": binding.get("HostPort") or "",
                    "ContainerPort": port,
                    "Protocol": protocol,
                }
            )
    if host_config.get("PublishAllPorts"):
        for key in config.get("ExposedPorts") or ():
            if key not in bound:
                port, protocol = split(key)
                result.append({"HostIp": "", "HostPort": "", "ContainerPort": port, "Protocol": protocol})
    return result


def split(key: str) -> tuple[str, str]:
    """("80", "tcp") of 80/tcp or 80. Raises InvalidInput."""
    port, _, protocol = key.partition("/")
    protocol = protocol or "tcp"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"invalid container port: {key}", hint="1 to 65535, with /tcp or /udp")
    if protocol not in ("tcp", "udp"):
        raise InvalidInput(f"invalid protocol of port {key}", hint="tcp or udp")
    return port, protocol
