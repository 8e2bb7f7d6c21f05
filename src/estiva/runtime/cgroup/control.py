"""Reading and writing control files, and the words for what the kernel says to it."""

from __future__ import annotations

import errno
import os

from estiva.errors import InvalidInput, LimitRefused, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(number: int) -> str:
    """Bytes for a message: "512 MiB", "1000 bytes", "unlimited" for a negative number."""
    if number < 0:
        return "unlimited"
    for factor, name in _UNITS:
        if number >= factor and number % (factor >> 10 or 1) == 0:
            whole = number / factor
            return f"{whole:.0f} {name}" if whole == int(whole) else f"{whole:.2f} {name}"
    return f"{number} bytes"


# A seq file comes by the page at most, and no line of it in two pieces: what is shorter than this is the end.
_FULL = 2048


def read(path: str) -> str:
    """The whole of a control file, without the last newline. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = more = os.read(fd, 65536)
        while len(more) >= _FULL:
            more = os.read(fd, 65536)
            data += more
    finally:
        os.close(fd)
    return data.decode("utf-8", "replace").rstrip("\n")


def read_or(path: str, default: str = "") -> str:
    """Like `read`, but `default` where there is no such file, or no longer."""
    try:
        return read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return default
        raise


def number_or_none(text: str) -> int | None:
    """A control file's number; None for "max", for nothing, and for v1's way to say unlimited."""
    if not text or text == "max":
        return None
    number = int(text)
    return None if number >= 0x7FFFFFFFFFFFF000 or number < 0 else number


def pairs(text: str) -> dict[str, int]:
    """A flat keyed file (memory.stat, cpu.stat): one "name number" a line; other lines are left out."""
    result = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if value.isdigit():
            result[name] = int(value)
    return result


def put(path: str, value: str) -> None:
    """write(2) `value` to a control file in one call, as the kernel wants it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def refused(option: str, shown: str, error: OSError, hint: str = "") -> LimitRefused:
    """The error for a limit that a control file did not take."""
    if error.errno == errno.ENOENT:
        why = "this machine's cgroups have no such limit"
    elif error.errno == errno.EBUSY and option.startswith("memory"):
        why = "more than that is in use already"
    else:
        why = os.strerror(error.errno or 0).lower()
    return LimitRefused(f"{option} {oneline(shown)} is refused by the kernel: {why}", hint=hint)


def limit(path: str, value: str, option: str, shown: str = "", hint: str = "") -> None:
    """Set one limit. Raises LimitRefused that names `option` and the value (`shown`, if that reads
    better)."""
    try:
        put(path, value)
    except OSError as error:
        raise refused(option, shown or value, error, hint) from error


# --- OCI linux.resources: fields by path, checked ---------------------------------------------------------


def whole(section: dict[str, Any], field: str, where: str) -> int | None:
    """An optional whole number. Raises InvalidInput naming the field."""
    value = section.get(field)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidInput(f"linux.resources.{where}.{field} is not a whole number")
    return value


def text(section: dict[str, Any], field: str, where: str) -> str:
    """An optional string, "" when absent. Raises InvalidInput naming the field."""
    value = section.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"linux.resources.{where}.{field} is not a string")
    return value or ""


def part(resources: dict[str, Any], name: str) -> dict[str, Any]:
    """An optional object of linux.resources, {} when absent. Raises InvalidInput naming it."""
    value = resources.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"linux.resources.{name} is not an object")
    return value


def listed(section: dict[str, Any], field: str, where: str) -> list[dict[str, Any]]:
    """An optional list of objects, [] when absent. Raises InvalidInput naming it."""
    value = section.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidInput(f"linux.resources.{where + '.' if where else ''}{field} is not a list of objects")
    return value


def device(entry: dict[str, Any], where: str) -> str:
    """ "MAJOR:MINOR" of an entry that must have both. Raises InvalidInput."""
    major, minor = whole(entry, "major", where), whole(entry, "minor", where)
    if major is None or minor is None or major < 0 or minor < 0:
        raise InvalidInput(f"linux.resources.{where} needs major and minor")
    return f"{major}:{minor}"


def rdma(name: str, entry: Any) -> str:
    """The line for rdma.max, which is the same on v1 and v2."""
    if not isinstance(entry, dict) or not name or not name.replace("_", "").replace("-", "").isalnum():
        raise InvalidInput("linux.resources.rdma maps a device's name to an object")
    words = [name]
    for field, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
        number = whole(entry, field, "rdma")
        if number is not None:
            words.append(f"{key}={number}")
    if len(words) == 1:
        raise InvalidInput(f"linux.resources.rdma.{name} needs hcaHandles or hcaObjects")
    return " ".join(words)


def hugepage_name(entry: dict[str, Any]) -> str:
    """The page size as the control files spell it. It becomes a part of a path, so only that form passes
    (K9)."""
    name = text(entry, "pageSize", "hugepageLimits")
    if not (name[:-2].isdigit() and name.isascii() and name[-2:] in ("KB", "MB", "GB")):
        raise InvalidInput("linux.resources.hugepageLimits.pageSize is not a size such as 2MB")
    return name
