"""Published ports: from Docker's HostConfig.PortBindings and Config.ExposedPorts to what the bridge
publishes.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import Config, HostConfig

LAST = 65535


def wanted(config: Config, host_config: HostConfig) -> list[dict[str, str]]:
    """[{"HostIp", "HostPort", "ContainerPort", "Protocol"}]; HostPort "" asks for a free one (-P, -p 80).

    Raises InvalidInput.
    """
    result = []
    bound = host_config.get("PortBindings") or {}
    for key, bindings in bound.items():
        port, protocol = split(key)
        for binding in bindings or [{}]:
            address, host_port = binding.get("HostIp") or "", binding.get("HostPort") or ""
            if address:
                _check_address(address)
            if host_port:
                _check_range(host_port)
            result.append(
                {"HostIp": address, "HostPort": host_port, "ContainerPort": port, "Protocol": protocol}
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
    if not _number(port):
        raise InvalidInput(f"invalid container port: {key}", hint=f"1 to {LAST}, with /tcp, /udp or /sctp")
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidInput(f"invalid proto: {protocol} of port {port}", hint="tcp, udp or sctp")
    return port, protocol


def _number(text: str) -> int:
    """The number of a port, 0 for what is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if number <= LAST else 0


def _check_range(text: str) -> None:
    """A HostPort: a port, 0 for any, or FIRST-LAST for any of these."""
    first, dash, last = text.partition("-")
    if text != "0" and not 0 < _number(first) <= _number(last if dash else first):
        raise InvalidInput(f"invalid hostPort: {text}", hint=f"1 to {LAST}, or a range such as 8000-8010")


def _check_address(text: str) -> None:
    from estiva.engine.spec import dns

    if not dns.is_address(text):
        raise InvalidInput(f"invalid IP address: {text}")
