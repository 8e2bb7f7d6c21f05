"""What a container's /etc/resolv.conf and /etc/hosts are to say: HostConfig.Dns, DnsSearch, DnsOptions and
ExtraHosts, judged. The files are made by network/resolvconf.py.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import HostConfig

KEYS = ("Dns", "DnsSearch", "DnsOptions", "ExtraHosts")
LABEL = 63  # bytes between two dots, RFC 1035


def check(host_config: HostConfig) -> None:
    """Raises InvalidInput for what is no address or no name, or would be read as something else there."""
    from estiva.network import resolvconf

    servers, search = host_config.get("Dns") or (), host_config.get("DnsSearch") or ()
    for text in servers:
        if not is_address(text):
            raise InvalidInput(f"invalid name server: IP address is not correctly formatted: {text}")
    for text in search:
        if text != "." and not all(map(_is_label, text.rstrip(".").split("."))):
            raise InvalidInput(f"{text} is not a valid domain")
    extra = host_config.get("ExtraHosts") or ()
    for text in extra:
        at = min((place for place in (text.find(":"), text.find("=")) if place > 0), default=0)
        address = text[at + 1 :].removeprefix("[").removesuffix("]")
        if not at:
            raise InvalidInput(f'bad format for add-host: "{text}"', hint="HOST:IP")
        if address != "host-gateway" and not is_address(address):
            raise InvalidInput(f'invalid IP address in add-host: "{address}"')
    options = host_config.get("DnsOptions") or ()
    resolvconf.resolv_conf("", dns=servers, search=search, options=options, host_network=True)
    resolvconf.hosts("", "", extra, gateway="0.0.0.0")


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address, as inet_pton(3) reads it."""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _is_label(text: str) -> bool:
    return 0 < len(text) <= LABEL and all(c.isalnum() or c in "-_" for c in text)
