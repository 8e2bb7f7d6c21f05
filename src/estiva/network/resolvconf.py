"""What a container finds in /etc/resolv.conf and /etc/hosts. See resolv.conf(5), hosts(5)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMBEDDED = "127.0.0.11"  # the name server of containers on networks of their own: network/dns
# Where systemd-resolved keeps the name servers behind its stub 127.0.0.53.
UPSTREAM = "/run/systemd/resolve/resolv.conf"
# How Docker's begin, whatever the container has of IPv6: programs look these names up.
LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
_LIMIT = 1 << 20


def resolv_conf(
    host_text: str,
    *,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    host_network: bool = False,
    embedded: bool = False,
    upstream: str = UPSTREAM,
) -> str:
    """A container's resolv.conf from the host's; `dns`, `search` ("." for none) and `options` replace what it
    says.

    Name servers on the host's loopback are of no use in another netns: left out, and when none remains,
    replaced by those in the file `upstream`. With `host_network` the host's stay. With `embedded` there is
    the embedded name server alone, which asks the others (`forwarding`), and sees names without a dot first
    (`ndots:0`). Raises InvalidInput for a word with a space or a control character.
    """
    for word in (*dns, *search, *options):
        _word(word)
    found = _parse(host_text)
    servers = list(dns) or found["nameserver"]
    notes = []
    if embedded:
        servers = [EMBEDDED]
    elif not dns and not host_network:
        reachable = _reachable(servers)
        if servers and not reachable:
            reachable = _reachable(_parse(_read(upstream))["nameserver"])
            notes.append("# the host's name servers are on its loopback: " + " ".join(servers))
            if reachable:
                notes.append(f"# these are from its {upstream}")
        servers = reachable
        if not servers:
            notes.append("# no name server that a container can reach: set one with --dns")
    domains = [name for name in search if name != "."] if search else found["search"]
    chosen = list(options) or found["options"]
    if embedded and not _sets_ndots(chosen):
        chosen.append("ndots:0")
    lines = notes + [f"nameserver {server}" for server in servers]
    if domains:
        lines.append("search " + " ".join(domains))
    if chosen:
        lines.append("options " + " ".join(chosen))
    return "".join(line + "\n" for line in lines)


def forwarding(
    host_text: str, *, dns: Sequence[str] = (), options: Sequence[str] = ()
) -> tuple[list[tuple[str, bool]], bool]:
    """Whom the embedded name server asks, by the same words: (address, whether it is asked from the host's
    network namespace), and whether somebody has set the option ndots.

    As with Docker, the host's servers are asked from the host, which alone reaches those on its loopback, and
    those of `dns` from the container.
    """
    found = _parse(host_text)
    servers = [(server, False) for server in dns if server != EMBEDDED]
    servers = servers if dns else [(server, True) for server in found["nameserver"]]
    return servers, _sets_ndots(list(options) or found["options"])


def _sets_ndots(options: list[str]) -> bool:
    return any(option.startswith("ndots:") for option in options)


def hosts(
    hostname: str,
    address: str,
    extra: Sequence[str] | Iterable[str] = (),
    *,
    gateway: str = "",
    more: Iterable[str] = (),
    linked: Iterable[str] = (),
) -> str:
    """A container's hosts file. `extra` are "NAME:ADDRESS" words (--add-host); the address "host-gateway" is
    `gateway`. Without `address` (no network of its own) the name is on 127.0.0.1; it is on the addresses
    `more` too. `linked` are lines as they stand there. Raises InvalidInput.
    """
    lines = list(LOCAL)
    for entry in extra:
        name, separator, target = entry.partition("=" if "=" in entry else ":")
        target = target.removeprefix("[").removesuffix("]")
        if target == "host-gateway":
            target = gateway
        _word(name)
        _address(target, entry, bool(separator))
        lines.append(f"{target}\t{name}")
    if hostname:
        _word(hostname)
        short = hostname.partition(".")[0]
        names = hostname if short == hostname else f"{hostname} {short}"
        lines += [f"{one}\t{names}" for one in (address or "127.0.0.1", *more)]
    lines += linked
    return "".join(line + "\n" for line in lines)


def _parse(text: str) -> dict[str, list[str]]:
    """nameserver, search and options of a resolv.conf; of `search` and `domain` the last one counts."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            found["nameserver"].append(words[1])
        elif words[0] == "options":
            found["options"] += words[1:]
        elif words[0] in ("search", "domain"):
            found["search"] = [word for word in words[1:] if word != "."]
    return found


def _reachable(servers: list[str]) -> list[str]:
    return [
        server for server in servers if not server.startswith("127.") and server.partition("%")[0] != "::1"
    ]


def _read(path: str) -> str:
    from estiva.files import read_bounded

    try:
        return read_bounded(path, _LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _word(word: str) -> None:
    from estiva.errors import InvalidInput, oneline

    if not word or not word.isprintable() or " " in word or word[0] in "#;":
        raise InvalidInput(f"'{oneline(word)}' can't stand in a resolv.conf or hosts file")


def _address(address: str, entry: str, given: bool) -> None:
    from _socket import AF_INET, AF_INET6, inet_pton

    from estiva.errors import InvalidInput, oneline

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, address)
            return
        except (OSError, ValueError):
            continue
    problem = f"{address!r} is not an address" if given else "it has no address"
    raise InvalidInput(
        f"invalid host entry '{oneline(entry)}': {oneline(problem)}", hint="write NAME:ADDRESS"
    )
