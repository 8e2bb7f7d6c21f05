"""-p and --expose: published and exposed ports, as Docker's API holds them (cold path)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Bindings = dict[str, list[dict[str, str]]]


def publish(words: Iterable[str]) -> Bindings:
    """Port bindings of [[IP:]HOST:]CONTAINER[/PROTOCOL] words. Raises ValueError."""
    bindings: Bindings = {}
    for word in words:
        for port, binding in _publish_one(_long_form(word) if "=" in word else word):
            bindings.setdefault(port, []).append(binding)
    return bindings


def expose(words: Iterable[str]) -> list[str]:
    """Ports "80/tcp" of PORT[-END][/PROTOCOL] words. Raises ValueError."""
    ports = []
    for word in words:
        if ":" in word:
            raise ValueError(f"invalid port format for --expose: {word}")
        port, protocol = _protocol(word)
        first, last = _range(port, f"invalid range format for --expose: {word}")
        ports += [f"{number}/{protocol}" for number in range(first, last + 1)]
    return ports


def _long_form(word: str) -> str:
    """The short form of target=80,published=8080,protocol=tcp."""
    values = dict.fromkeys(("target", "published", "protocol", "mode"), "")
    for field in word.split(","):
        key, equals, value = field.partition("=")
        if not equals or key not in values:
            raise ValueError(f"invalid field {field} in port {word}")
        values[key] = value
    host = values["published"] + ":" if values["published"] else ""
    return f"{host}{values['target']}/{values['protocol'] or 'tcp'}"


def _publish_one(word: str) -> list[tuple[str, dict[str, str]]]:
    rest, _, container = word.rpartition(":")
    address, _, host = rest.rpartition(":")
    container, protocol = _protocol(container)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not container:
        raise ValueError(f"no port specified: {word or '<empty>'}")
    first, last = _range(container, f"invalid containerPort: {container}")
    host_first, host_last = _range(host, f"invalid hostPort: {host}") if host else (0, last - first)
    if host and last - first != host_last - host_first and first != last:
        raise ValueError(f"invalid ranges specified for container and host ports: {container} and {host}")
    result = []
    for offset in range(last - first + 1):
        number = str(host_first + offset) if host else ""
        if host and first == last and host_first != host_last:
            number = f"{host_first}-{host_last}"  # any free one of them
        result.append((f"{first + offset}/{protocol}", {"HostIp": address, "HostPort": number}))
    return result


def _protocol(word: str) -> tuple[str, str]:
    port, slash, protocol = word.partition("/")
    if slash and not port:
        raise ValueError(f"invalid proto: {word}")
    return port, protocol.lower() or "tcp"


def _range(text: str, problem: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(n.isascii() and n.isdigit() and len(n) < 6 and int(n) < 65536 for n in numbers):
        raise ValueError(problem)
    if int(numbers[0]) > int(numbers[1]):
        raise ValueError(problem)
    return int(numbers[0]), int(numbers[1])
