"""Who the process runs as: /etc/passwd and /etc/group of the container, read by us and within bounds.

The host's NSS never sees a container's files, nor the container the host's (K2). What looks like a number
is a number: an image's passwd with a user named "1000" and uid 0 doesn't turn `--user 1000` into root (K7).
"""

from __future__ import annotations

import errno

from estiva.errors import InvalidInput
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_ID = 0x7FFFFFFF  # what Docker takes from names and files
MAX_KERNEL_ID = 0xFFFFFFFE  # (uid_t)-1 means "leave it" to setresuid(2)
MAX_GROUPS = 65536  # NGROUPS_MAX
_FILE_LIMIT = 4 << 20
_DEFAULT_HOME = "/"


class Identity:
    """`uid`, `gid`, supplementary `groups`, `home` ("" when not looked up) and `umask` (-1: leave it)."""

    __slots__ = ("uid", "gid", "groups", "home", "umask")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str = "", umask: int = -1) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.umask = umask


def number(text: str, most: int = MAX_ID) -> int:
    """The id that ASCII digits say, or -1 for what is not a number. Raises InvalidInput out of range."""
    if not (text.isascii() and text.isdigit()):
        return -1
    if len(text) > 10 or int(text) > most:
        raise InvalidInput(f"{text[:32]} is out of the range of ids (0-{most})")
    return int(text)


def _file_number(text: str) -> int:
    """As `number`, but -1 also for what is out of range: such a line of a file is passed over."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID else -1


def read_database(root: int, path: str) -> str:
    """A container's /etc/passwd or /etc/group; "" when there is none. Raises InvalidInput over 4 MiB.

    A link to anything but a file with content counts as none. /proc must be the host's.
    """
    try:
        data = fs.read_in_root(root, path, _FILE_LIMIT)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InvalidInput(
                f"the image's {path} is larger than {_FILE_LIMIT >> 20} MiB",
                hint="nothing is looked up in it: give numbers, UID:GID, as the user",
            ) from None
        return ""
    return data.decode("utf-8", "surrogateescape")


def _database(root: int, path: str, *, needed: bool) -> str:
    """`read_database`; one that is too large counts as none where numbers say enough."""
    try:
        return read_database(root, path)
    except InvalidInput:
        if needed:
            raise
        return ""


def parse_passwd(text: str) -> Iterator[tuple[str, int, int, str]]:
    """(name, uid, gid, home) for each well-formed line of passwd(5)."""
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) < 4 or not fields[0] or fields[0][0] in "#+-":
            continue
        uid, gid = _file_number(fields[2]), _file_number(fields[3])
        if uid >= 0 and gid >= 0:
            yield fields[0], uid, gid, fields[5] if len(fields) > 5 else ""


def parse_group(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """(name, gid, members) for each well-formed line of group(5)."""
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) < 3 or not fields[0] or fields[0][0] in "#+-":
            continue
        gid = _file_number(fields[2])
        if gid >= 0:
            yield fields[0], gid, [m for m in fields[3].split(",") if m] if len(fields) > 3 else []


def resolve(root: int, user: dict[str, Any], *, need_home: bool) -> Identity:
    """The identity that an OCI process.user asks for, inside the root directory fd `root`.

    {"uid", "gid", "additionalGids"} is taken as it is; {"username": "NAME|UID[:GROUP|GID]",
    "additionalGroups": [...]} is looked up as Docker does. Raises InvalidInput.
    """
    if "username" in user and "uid" not in user:  # "" is root, with root's groups
        identity = _resolve_name(root, user["username"], user.get("additionalGroups") or ())
        # The primary group stays among the groups even if a setgid program changes it (CVE-2022-36109)
        identity.groups = list(dict.fromkeys([identity.gid, *identity.groups]))
    else:
        identity = _resolve_numbers(user)
        if need_home:
            text = _database(root, "/etc/passwd", needed=False)
            entry = next((e for e in parse_passwd(text) if e[1] == identity.uid), None)
            identity.home = entry[3] if entry else ""
    if need_home and not identity.home.startswith("/"):
        identity.home = _DEFAULT_HOME
    umask = user.get("umask")
    if umask is not None:
        if not isinstance(umask, int) or not 0 <= umask <= 0o777:
            raise InvalidInput(f"the umask {umask} is out of range")
        identity.umask = umask
    return identity


def _resolve_numbers(user: dict[str, Any]) -> Identity:
    ids = [user.get("uid", 0), user.get("gid", 0), *(user.get("additionalGids") or ())]
    for one in ids:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one <= MAX_KERNEL_ID:
            raise InvalidInput(f"{one} is out of the range of ids (0-{MAX_KERNEL_ID})")
    if len(ids) - 2 > MAX_GROUPS:
        raise InvalidInput(f"{len(ids) - 2} groups are more than the kernel's {MAX_GROUPS}")
    return Identity(ids[0], ids[1], ids[2:])


def _resolve_name(root: int, spec: str, additional: list[str] | tuple[()]) -> Identity:
    user, colon, group = spec.partition(":")
    uid = number(user) if user else 0
    users = parse_passwd(_database(root, "/etc/passwd", needed=uid < 0))
    entry = next((e for e in users if (e[1] == uid if uid >= 0 else e[0] == user)), None)
    if entry is None and uid < 0:
        raise InvalidInput(
            f"there is no user {user!r} in the image's /etc/passwd", hint="give a uid, or add the user to it"
        )
    identity = Identity(uid, 0, []) if entry is None else Identity(entry[1], entry[2], [], entry[3])
    wanted = number(group) if colon and group else -1
    if wanted >= 0:
        identity.gid = wanted
    by_name = bool(colon and group) and wanted < 0
    extra = [number(g) for g in additional]
    if not by_name and entry is None and -1 not in extra:
        identity.groups = extra
        return identity
    groups = list(parse_group(_database(root, "/etc/group", needed=by_name or -1 in extra)))
    if by_name:
        identity.gid = _group_id(groups, group)
    elif not (colon and group) and entry is not None:
        # Only without an explicit group does the user bring its memberships along.
        name = entry[0]
        identity.groups = [gid for _, gid, members in groups if name in members][:MAX_GROUPS]
    for name, gid in zip(additional, extra, strict=True):
        identity.groups.append(gid if gid >= 0 else _group_id(groups, name))
    return identity


def _group_id(groups: list[tuple[str, int, list[str]]], name: str) -> int:
    for known, gid, _ in groups:
        if known == name:
            return gid
    raise InvalidInput(
        f"there is no group {name!r} in the image's /etc/group", hint="give a gid, or add the group to it"
    )
