"""--userns, --uidmap and --gidmap: which of the host's ids a container's are.

    check      what was asked is judged
    settle     it becomes HostConfig.IDMappings, "CONTAINER:HOST:SIZE" lines as Podman has them
    allocate   `auto`: ranges that no other container has, in the transaction that writes the row; they are
               free again when the row goes

`auto` takes from the ranges of the user `containers` in /etc/subuid and /etc/subgid, as Podman does, else
from POOL, of which systemd's table of uids makes no use, without what those files give to others.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported, brief, reason
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.engine.state.types import Record
    from estiva.store.database import Transaction

    Extent = tuple[int, int, int]  # container id, host id, size

POOL = (0x70000000, 0x10000000)
OWNER = "containers"
SIZE = 65536
LAST = 0xFFFFFFFE  # (uid_t)-1 is no id
EXTENTS = 340  # user_namespaces(7)
OPTIONS = (("UidMap", "--uidmap"), ("GidMap", "--gidmap"))
_FILES = {"UidMap": "/etc/subuid", "GidMap": "/etc/subgid"}
_FILE_LIMIT = 1 << 20


def extent(text: str, option: str) -> Extent:
    """CONTAINER:HOST[:SIZE]. Raises InvalidInput."""
    words = text.split(":")
    if len(words) == 2:
        words.append("1")
    if len(words) != 3 or not all(w.isascii() and w.isdigit() and len(w) <= 10 for w in words):
        raise InvalidInput(f"invalid {option}: {text}", hint="CONTAINER_ID:HOST_ID[:SIZE]")
    inside, outside, size = map(int, words)
    if not size or inside + size - 1 > LAST or outside + size - 1 > LAST:
        raise InvalidInput(f"invalid {option}: {text} goes out of the range of ids (0-{LAST})")
    return inside, outside, size


def checked(extents: list[Extent], option: str) -> list[str]:
    """The lines of a mapping. Raises InvalidInput for one that the kernel or a container can't use."""
    if len(extents) > EXTENTS:
        raise InvalidInput(f"{option}: {len(extents)} ranges are more than the kernel's {EXTENTS}")
    for side, which in ((0, "container"), (1, "host")):
        end = -1
        for one in sorted(extents, key=lambda entry: entry[side]):
            if one[side] <= end:
                raise InvalidInput(f"{option}: the {which} id {one[side]} is mapped twice")
            end = one[side] + one[2] - 1
    if not any(inside == 0 for inside, _, _ in extents):
        raise InvalidInput(
            f"{option}: the container's root, id 0, is not mapped", hint="add 0:HOST_ID:SIZE to the mapping"
        )
    return [f"{inside}:{outside}:{size}" for inside, outside, size in sorted(extents)]


def check(host_config: HostConfig) -> None:
    """Judge what is asked for. Raises InvalidInput, Conflict, Unsupported."""
    mode = str(host_config.get("UsernsMode") or "")
    given = host_config.get("IDMappings") or {}
    named = host_config.get("SubuidName") or host_config.get("SubgidName")
    kind, _, details = mode.partition(":")
    if any(given.values()) or named:
        if mode not in ("", "private"):
            raise Conflict(
                f"--userns {mode} can't be used with --uidmap, --gidmap, --subuidname, --subgidname"
            )
        if named and any(given.values()):
            raise Conflict("--subuidname and --subgidname can't be used with --uidmap and --gidmap")
        if not named:
            _explicit(given)
    elif kind == "auto":
        _auto_options(details)
    elif kind == "keep-id":
        _keep_options(details)
    elif mode == "nomap":
        raise Unsupported(
            "--userns nomap is for containers of ordinary users", hint="auto maps none of the ids in use"
        )
    elif kind in ("ns", "container"):
        if not details or (kind == "ns" and not details.startswith("/")):
            raise InvalidInput(f"invalid --userns: {mode}", hint="container:NAME or ns:/PATH")
    elif mode not in ("", "host", "private"):
        raise InvalidInput(
            f"--userns: invalid userns mode '{mode}'", hint="host, auto, keep-id, container:NAME or ns:PATH"
        )


def settle(config: Config, host_config: HostConfig) -> None:
    """Make IDMappings of all judged modes but `auto` and `container:X`. Raises NotFound when a named user has
    no ranges, InvalidInput when they can't be used."""
    kind, _, details = str(host_config.get("UsernsMode") or "").partition(":")
    given = host_config.pop("IDMappings", None) or {}
    names = [host_config.pop("SubuidName", None), host_config.pop("SubgidName", None)]
    if any(given.values()) or any(names):
        host_config["UsernsMode"] = "private"
        host_config["IDMappings"] = _named(names) if any(names) else _explicit(given)
    elif kind == "keep-id":
        uid, gid = _keep_options(details)
        host_config["IDMappings"] = {"UidMap": _present("uid"), "GidMap": _present("gid")}
        if not config.get("User"):
            config["User"] = f"{uid}:{gid}"


def _explicit(given: dict[str, list[str]]) -> dict[str, list[str]]:
    """--uidmap and --gidmap; either alone is for both, as with Podman."""
    result = {}
    for key, option in OPTIONS:
        lines = given.get(key) or given.get("UidMap") or given.get("GidMap") or ()
        result[key] = checked([extent(line, option) for line in lines], option)
    return result


def _named(names: list[str | None]) -> dict[str, list[str]]:
    """--subuidname and --subgidname: the ranges that the files give to a user, one after the other; either
    alone is for both, as with Podman."""
    result = {}
    for (key, option), name in zip(OPTIONS, names, strict=True):
        name = name or names[0] or names[1]
        inside, extents = 0, []
        for start, size in subordinate(_FILES[key], str(name)):
            extents.append((inside, start, size))
            inside += size
        if not extents:
            raise NotFound(f"{_FILES[key]} has no ranges for {brief(str(name), 100)}")
        result[key] = checked(extents, option)
    return result


def _present(kind: str) -> list[str]:
    """Podman's keep-id for root: a new namespace with every id that there is here, as it is."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return [f"{inside}:{inside}:{size}" for inside, _, size in rows]


def _options(text: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (word.partition("=") for word in text.split(",") if word)]


def _number(value: str, option: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= LAST):
        raise InvalidInput(f"invalid --userns: {option}={value} is not an id or a size")
    return int(value)


def _keep_options(text: str) -> tuple[int, int]:
    ids = {"uid": 0, "gid": 0}
    for key, value in _options(text):
        if key not in ids:
            raise InvalidInput(f"invalid --userns: keep-id has no option {key}", hint="uid=N, gid=N")
        ids[key] = _number(value, key)
    return ids["uid"], ids["gid"]


def _auto_options(text: str) -> tuple[int, list[Extent], list[Extent]]:
    """(size, forced uid extents, forced gid extents) of auto:size=N,uidmapping=C:H:N,gidmapping=C:H:N."""
    size = SIZE
    forced: dict[str, list[Extent]] = {"uidmapping": [], "gidmapping": []}
    for key, value in _options(text):
        if key == "size":
            size = _number(value, key)
        elif key in forced:
            forced[key].append(extent(value, key))
        else:
            raise InvalidInput(
                f"invalid --userns: auto has no option {key}", hint="size, uidmapping, gidmapping"
            )
    if not size or size > POOL[1]:
        raise InvalidInput(f"invalid --userns: size={size}", hint=f"1 to {POOL[1]} ids")
    return size, forced["uidmapping"], forced["gidmapping"]


def subordinate(path: str, name: str | None) -> list[tuple[int, int]]:
    """(start, size) of a user's lines of subuid(5); of all lines without a name. Lines that are none count
    for nothing. Raises InvalidInput for a file that can't be read.
    """
    from estiva.files import read_bounded

    try:
        text = read_bounded(path, _FILE_LIMIT).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {reason(error)}") from None
    found = []
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) != 3 or not all(f.isascii() and f.isdigit() and len(f) <= 10 for f in fields[1:]):
            continue
        start, size = int(fields[1]), int(fields[2])
        if (name is None or fields[0] == name) and size and start + size - 1 <= LAST:
            found.append((start, size))
    return found


def wants_range(host_config: HostConfig) -> bool:
    """Whether `allocate` is to give a container its ranges."""
    mode = str(host_config.get("UsernsMode") or "")
    return mode.partition(":")[0] in ("auto", "private") and not host_config.get("IDMappings")


def allocate(transaction: Transaction, made: Record) -> None:
    """Give a container that is about to get its row ranges of its own. Raises Conflict when none is free."""
    host_config = made["HostConfig"]
    size, uids, gids = _auto_options(host_config["UsernsMode"].partition(":")[2])
    texts = containers.id_mappings(transaction)
    others = [fastjson.loads(text, what="a container's id mappings") for text in texts]
    result = {}
    for key, forced in (("UidMap", uids), ("GidMap", gids)):
        pool = subordinate(_FILES[key], OWNER)
        taken = [] if pool else subordinate(_FILES[key], None)
        taken += [(outside, length) for _, outside, length in forced]
        for other in others:
            taken += [extent(line, key)[1:] for line in other.get(key) or ()]
        result[key] = checked(_fitted(size, forced, pool or [POOL], taken), "--userns auto")
    host_config["IDMappings"] = result


def _fitted(
    size: int, forced: list[Extent], pool: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> list[Extent]:
    """Container ids 0 to size - 1: the forced ones as they are, the rest in one free run of host ids."""
    gaps, at = [], 0
    for inside, _, length in sorted(forced):
        if inside > at:
            gaps.append((at, min(inside, size) - at))
        at = max(at, inside + length)
    if at < size:
        gaps.append((at, size - at))
    gaps = [(start, length) for start, length in gaps if length > 0]
    total = sum(length for _, length in gaps)
    outside = _free(total, pool, taken) if total else 0
    result = list(forced)
    for start, length in gaps:
        result.append((start, outside, length))
        outside += length
    return result


def _free(size: int, pool: list[tuple[int, int]], taken: list[tuple[int, int]]) -> int:
    """The lowest start of `size` ids of the pool that nobody has."""
    for start, length in sorted(pool):
        at = start
        for other, count in sorted(taken):
            if other >= at + size:
                break
            at = max(at, other + count)
        if at + size <= start + length:
            return at
    raise Conflict(
        f"no {size} ids in a row are free for --userns auto",
        hint="remove containers, ask for a smaller size, or give `containers` more in /etc/subuid and subgid",
    )


def identical(mappings: dict[str, list[str]]) -> bool:
    """Whether every id is the same inside and outside, so that files need no mapping."""
    return all(one[0] == one[1] for lines in mappings.values() for one in (extent(x, "") for x in lines))


def oci(lines: list[str]) -> list[dict[str, int]]:
    """linux.uidMappings or gidMappings."""
    keys = ("containerID", "hostID", "size")
    return [dict(zip(keys, extent(line, "id mapping"), strict=True)) for line in lines]


def text(lines: list[str]) -> str:
    """As in /proc/PID/uid_map."""
    return "\n".join(line.replace(":", " ") for line in lines)


def root(mappings: dict[str, list[str]]) -> tuple[int, int]:
    """The host's ids of the container's root."""
    found = [next(h for c, h, _ in (extent(x, "") for x in mappings[key]) if c == 0) for key in _FILES]
    return found[0], found[1]


def has(lines: list[str], number: int) -> bool:
    """Whether the container has that id."""
    return any(inside <= number < inside + size for inside, _, size in (extent(x, "") for x in lines))
