"""The owner that --chown and USER name, looked up in the rootfs's own /etc/passwd and /etc/group.

No NSS, no libraries of the image (K2): two text files, read through the root's fd, bounded (K7).
"""

from __future__ import annotations

import errno

from estiva.builder.frontend import values
from estiva.errors import InvalidInput
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


LIMIT = 1 << 20  # bytes of /etc/passwd or /etc/group
_ROOT = ["root", "", "0", "0"]
_MAX_ID = (1 << 32) - 2  # 2^32-1 is chown(2)'s "leave it"


def known(rootfd: int, text: str) -> tuple[int, int] | None:
    """The same as `owner`, None for a name that is not there."""
    try:
        return owner(rootfd, text)
    except InvalidInput:
        return None


def owner(rootfd: int, text: str) -> tuple[int, int]:
    """(uid, gid) of `user`, `user:group`, or numbers. Raises InvalidInput for a name that is not there.

    A user's name alone brings its primary group, a number alone is the group as well (as docker has it).
    What an unset variable leaves empty beside a colon is 0.
    """
    user, colon, group = text.partition(":")
    if not user and not colon:
        raise InvalidInput(f"invalid owner: {text!r}", hint="USER, USER:GROUP or numbers")
    if not user:
        uid = gid = 0
    elif user.isascii() and user.isdecimal():
        uid = gid = _number(user)
    else:
        found = next((fields for fields in _records(rootfd, "etc/passwd", 4) if fields[0] == user), None)
        if found is None and user == "root":  # also where there is no such file
            found = _ROOT
        if found is None:
            hint = "use a number, or add the user"
            raise InvalidInput(f"no user {user!r} in the image's /etc/passwd", hint=hint)
        uid, gid = _number(found[2]), _number(found[3])
    if colon:
        gid = _group(rootfd, group) if group else 0
    return uid, gid


def _group(rootfd: int, name: str) -> int:
    if name.isascii() and name.isdecimal():
        return _number(name)
    for fields in _records(rootfd, "etc/group", 3):
        if fields[0] == name:
            return _number(fields[2])
    if name == "root":
        return 0
    raise InvalidInput(f"no group {name!r} in the image's /etc/group", hint="use a number, or add the group")


def _number(text: str) -> int:
    number = values.whole(text, _MAX_ID)
    if number is None:
        raise InvalidInput(f"invalid user or group id: {text[:40]!r}")
    return number


def _records(rootfd: int, path: str, least: int) -> Iterator[list[str]]:
    """The lines of a passwd-like file that have at least `least` fields."""
    try:
        data = fs.read_in_root(rootfd, path, LIMIT)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InvalidInput(f"the image's /{path} is larger than {LIMIT >> 20} MiB") from None
        return
    for line in data.decode("utf-8", "replace").splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not fields[0].startswith("#"):
            yield fields
