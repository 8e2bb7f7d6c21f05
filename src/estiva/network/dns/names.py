"""Who is called what, as seen by one container: names, aliases, ids and links of the containers that run on
its networks, from the state database.

    NAME          on the first of its networks where somebody is called so: a container's name, an alias,
                  the start of its id (12 digits), its host name; several that share an alias are all meant
    NAME.NETWORK  on that one
    a link's alias   the container that it was made to, by its id or its name, for who has the link alone

as Docker's (moby, libnetwork's Sandbox.ResolveName). What the database says is kept as an index, which is
made anew when a commit has changed it (PRAGMA data_version): so containers come and go without a message to
anybody. A look whether there was one costs microseconds.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from estiva import fastjson
from estiva.errors import EstivaError, StateError
from estiva.network.dns.wire import encode
from estiva.store import containers, schema
from estiva.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

SHORT = 12  # digits of an id
LONGEST = 254  # bytes of a name as text: RFC 1035 2.3.4
WAIT = 0.2  # seconds for a writer that is in the way; then what was known is still told


class ReadOnly(Database):
    """The database without a right to change it; it must be there, in the version that this Estiva knows."""

    def _connect(self, name: str, *, uri: bool = False) -> sqlite3.Connection:
        if not uri:
            for char, escaped in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
                name = name.replace(char, escaped)
            name = f"file:{name}?mode=ro"
        connection = super()._connect(name, uri=True)
        connection.execute(f"PRAGMA busy_timeout = {int(WAIT * 1000)}").fetchall()
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        raise StateError(f"the database {self.path} is not of version {schema.VERSION}")


class Addresses:
    """Packed addresses that a name means."""

    __slots__ = ("v4", "v6")

    def __init__(self) -> None:
        self.v4: list[bytes] = []
        self.v6: list[bytes] = []

    def add(self, other: Addresses) -> None:
        self.v4 += [address for address in other.v4 if address not in self.v4]
        self.v6 += [address for address in other.v6 if address not in self.v6]


class Network:
    """Those who run on one network."""

    __slots__ = ("name", "internal", "names", "members", "reverse")

    def __init__(self, name: bytes, internal: bool) -> None:
        self.name = name
        self.internal = internal
        self.names: dict[bytes, Addresses] = {}
        self.members: dict[str, Addresses] = {}  # by container
        self.reverse: dict[bytes, bytes] = {}  # a packed address -> the first name of who has it

    def add(self, container: str, own: Addresses, called: list[bytes]) -> None:
        self.members[container] = own
        for name in called:
            self.names.setdefault(name, Addresses()).add(own)
        for address in (*own.v4, *own.v6):
            self.reverse[address] = called[0]


class Place:
    """One container's endpoint in a network, with its links there."""

    __slots__ = ("network", "priority", "links")

    def __init__(self, network: Network, priority: int, links: dict[bytes, list[str]]) -> None:
        self.network = network
        self.priority = priority
        self.links = links

    def find(self, name: bytes) -> Addresses | None:
        linked = self.links.get(name)
        if linked is None:
            return self.network.names.get(name)
        found = Addresses()
        for container in linked:
            named = self.network.members.get(container) or self.network.names.get(_word(container))
            if named is not None:
                found.add(named)
        return found if found.v4 or found.v6 else None


class Directory:
    """All names, by the database at `path`. `refresh` before a question; what can't be read then stays as
    it was known.
    """

    def __init__(self, path: str) -> None:
        self.database = ReadOnly(path)
        self.version = -1
        self.rows: list[tuple[str, str, str, str, str]] = []
        self.known: list[tuple[str, str, str]] = []
        self.places: dict[str, list[Place]] = {}
        self.beyond: set[str] = set()  # who are on the default network, where nobody has a name
        self.hostnames: dict[str, str] = {}  # which never change

    def refresh(self) -> bool:
        """Look whether the database has changed, and make the index anew if names have: then true."""
        try:
            ((version,),) = self.database.read("PRAGMA data_version")
            if version == self.version:
                return False
            rows = containers.on_networks(self.database)
            known = self.database.read("SELECT id, name, record FROM networks ORDER BY id")
            beyond = self.database.read(
                "SELECT DISTINCT container FROM leases WHERE network NOT IN (SELECT id FROM networks)"
            )
            self.beyond = {container for (container,) in beyond}
            if rows != self.rows or known != self.known:
                self._index(rows, known)
                self.rows, self.known = rows, known
            self.version = version
        except EstivaError:
            return False
        return True

    def resolve(self, container: str, name: bytes) -> Addresses | None:
        """Whom a container means by a name, in lower case and without a dot at its end; None: nobody here."""
        places = self.places.get(container, ())
        for place in places:
            if found := place.find(name):
                return found
        at = name.rfind(b".")
        while at > 0:
            for place in places:
                if place.network.name == name[at + 1 :] and (found := place.find(name[:at])):
                    return found
            at = name.rfind(b".", 0, at)
        return None

    def reverse(self, container: str, address: bytes) -> bytes:
        """NAME.NETWORK of who has a packed address on one of the container's networks, NAME alone where that
        is none that a message can hold; empty for nobody.
        """
        for place in self.places.get(container, ()):
            if name := place.network.reverse.get(address):
                whole = name + b"." + place.network.name
                return whole if place.network.name and len(whole) < LONGEST else name
        return b""

    def confined(self, container: str) -> bool:
        """Whether all networks that it is on are internal, or it is on none any more: it is to learn nothing
        of the outside.
        """
        places = self.places.get(container, ())
        return container not in self.beyond and all(place.network.internal for place in places)

    def _index(self, rows: list[tuple[str, str, str, str, str]], known: list[tuple[Any, ...]]) -> None:
        networks = {
            identity: Network(_word(name), bool(_object(record).get("Internal")))
            for identity, name, record in known
        }
        ends: dict[tuple[str, str], tuple[str, str, Addresses]] = {}
        for network, container, name, record, address in rows:
            own = ends.setdefault((network, container), (name, record, Addresses()))[2]
            _put(own, address)
        present = {container for _, container in ends}
        self.hostnames = {key: value for key, value in self.hostnames.items() if key in present}
        places: dict[str, list[Place]] = {}
        for (identity, container), (name, record, own) in ends.items():
            if identity not in networks:
                continue
            endpoint = _object(record)
            if container not in self.hostnames:
                self.hostnames[container] = containers.hostname(self.database, container)
            called = [name, *_texts(endpoint.get("Aliases")), container[:SHORT], self.hostnames[container]]
            words = [word for word in map(_word, called) if word]
            networks[identity].add(container, own, list(dict.fromkeys(words)))
            priority = endpoint.get("GwPriority")
            place = Place(
                networks[identity],
                priority if isinstance(priority, int) else 0,
                _links(endpoint.get("Links")),
            )
            places.setdefault(container, []).append(place)
        for listed in places.values():
            listed.sort(key=lambda place: (-place.priority, place.network.internal, place.network.name))
        self.places = places


def _put(addresses: Addresses, text: str) -> None:
    text = text.partition("/")[0]
    try:
        if ":" in text:
            addresses.v6.append(inet_pton(AF_INET6, text))
        else:
            addresses.v4.append(inet_pton(AF_INET, text))
    except OSError:
        pass  # not ours


def _word(name: str) -> bytes:
    """A name as queries hold it; empty for what no query can ask for."""
    word = name.removeprefix("/").rstrip(".").encode("utf-8", "replace").lower()
    try:
        encode(word)
    except ValueError:
        return b""
    return word


def _object(text: str) -> dict[str, Any]:
    try:
        found = fastjson.loads(text)
    except (EstivaError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _links(value: object) -> dict[bytes, list[str]]:
    """Alias -> containers, of [[container, alias], ...]."""
    found: dict[bytes, list[str]] = {}
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair):
            found.setdefault(_word(pair[1]), []).append(pair[0])
    return found
