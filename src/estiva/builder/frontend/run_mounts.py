"""RUN --mount: its comma-separated fields understood and checked."""

from __future__ import annotations

import posixpath

from estiva.builder.fields import cells
from estiva.builder.frontend import values
from estiva.builder.frontend.errors import shorten
from estiva.builder.frontend.near import near
from estiva.builder.struct import struct
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.variables import Expander


KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
KEYS = (
    "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size", "mode",
    "uid", "gid", "env",
)  # fmt: skip
SHARING = ("shared", "private", "locked")


@struct
class Mount:
    """One mount; `mode`, `uid`, `gid` are None where not given, `size` is in bytes (0: no limit)."""

    kind: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    readonly: bool | None = None
    id: str = ""
    sharing: str = "shared"
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None

    @property
    def subpath(self) -> str:
        """The source, cleaned; "" for all of it."""
        return posixpath.normpath("/" + self.source).strip("/")

    @property
    def writable(self) -> bool:
        return self.kind in ("cache", "tmpfs") if self.readonly is None else not self.readonly


def csv_fields(flag: str, text: str) -> list[str]:
    """The comma-separated fields of a flag's value; quotes as in CSV. Raises InvalidInput."""

    def wrong(error: str) -> InvalidInput:
        return InvalidInput(f"--{flag} {shorten(text)!r} can't be read: {error}")

    return cells(text, wrong, strict=False)


def fields(text: str) -> list[tuple[str, str | None]]:
    """The key=value fields of a mount, keys in lower case. Raises InvalidInput."""
    pairs: list[tuple[str, str | None]] = []
    for field in csv_fields("mount", text):
        key, equals, value = field.partition("=")
        pairs.append((key.strip().lower(), value if equals else None))
    return pairs


def from_of(text: str) -> str:
    """What a mount's `from` names, or ""."""
    return next((value or "" for key, value in fields(text) if key == "from"), "")


def parse_all(texts: list[str], expand: Expander, workdir: str) -> list[Mount]:
    """The --mount values of one RUN, as `parse` has them; agents without a target get one each."""
    mounts = [parse(text, expand, workdir) for text in texts]
    for number, mount in enumerate(mount for mount in mounts if mount.kind == "ssh"):
        mount.target = mount.target or f"/run/buildkit/ssh_agent.{number}"
    return mounts


def parse(text: str, expand: Expander, workdir: str) -> Mount:
    """A --mount value; targets are absolute afterwards, save an agent's without one. Raises InvalidInput."""
    mount = Mount()
    given: set[str] = set()
    for key, raw in fields(text):
        value = None if raw is None else expand.word(raw)
        key = {
            "src": "source",
            "dst": "target",
            "destination": "target",
            "ro": "readonly",
            "rw": "readwrite",
        }.get(key, key)
        if value is None and key not in ("readonly", "readwrite", "required"):
            raise InvalidInput(f"--mount field {key!r} must be key=value")
        given.add(key)
        _set(mount, key, value)
    _check(mount, given)
    target = mount.target
    if mount.kind == "secret" and not target and mount.env is None:
        target = f"/run/secrets/{posixpath.basename(mount.id or mount.source)}"
    if target:
        mount.target = "/" + posixpath.normpath(posixpath.join("/", workdir, target)).lstrip("/")
        if mount.target == "/":
            raise InvalidInput(f"invalid mount target: {target!r}")
    return mount


def _set(mount: Mount, key: str, value: str | None) -> None:
    text = value or ""
    if key == "type":
        mount.kind = text.lower()
        if mount.kind not in KINDS:
            raise InvalidInput(f"unsupported mount type {text!r}", hint=_meant(text, KINDS))
    elif key == "from":
        mount.from_ = text
    elif key in ("source", "target", "id"):
        setattr(mount, key, text)
    elif key in ("readonly", "readwrite", "required"):
        on = boolean(key, value)
        if key == "required":
            mount.required = on
        else:
            mount.readonly = on if key == "readonly" else not on
    elif key == "size":
        mount.size = values.size(text)
    elif key == "sharing":
        mount.sharing = text.lower()
        if mount.sharing not in SHARING:
            raise InvalidInput(f"unsupported sharing {text!r}", hint=_meant(text, SHARING))
    elif key in ("mode", "uid", "gid"):
        setattr(mount, key, _number(key, text))
    elif key == "env":
        mount.env = text
    else:
        raise InvalidInput(f"unexpected --mount field {key!r}", hint=_meant(key, KEYS))


def boolean(key: str, value: str | None) -> bool:
    """A field's value, or True without one. Raises InvalidInput."""
    if value is None or value.lower() in ("true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise InvalidInput(f"invalid value for {key}: {value!r}")


def _number(key: str, text: str) -> int:
    try:
        number = int(text, 8 if key == "mode" else 10)
    except ValueError:
        number = -1
    if not 0 <= number <= (0o7777 if key == "mode" else (1 << 32) - 2):
        raise InvalidInput(f"invalid value for {key}: {text!r}")
    return number


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = near(word, known)
    return f"did you mean {close}?" if close else "it is one of " + ", ".join(known)


_ALLOWED = {
    "bind": {"type", "from", "source", "target", "readonly", "readwrite"},
    "cache": {
        "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "mode", "uid", "gid",
    },
    "tmpfs": {"type", "target", "readonly", "readwrite", "size"},
    "secret": {"type", "id", "source", "target", "readonly", "required", "mode", "uid", "gid", "env"},
    "ssh": {"type", "id", "target", "readonly", "required", "mode", "uid", "gid"},
}  # fmt: skip


def _check(mount: Mount, given: set[str]) -> None:
    extra = sorted(given - _ALLOWED[mount.kind])
    if extra:
        raise InvalidInput(
            f"--mount field {extra[0]!r} does not go with type {mount.kind}",
            hint="what does is " + ", ".join(sorted(_ALLOWED[mount.kind] - {"type"})),
        )
    if mount.kind in ("bind", "cache", "tmpfs") and not mount.target:
        raise InvalidInput(f"a {mount.kind} mount needs a target")
    if mount.kind == "secret":
        if mount.source and mount.id:
            raise InvalidInput("a secret mount has either source or id, not both")
        mount.id = mount.id or mount.source or posixpath.basename(mount.target)
        if not mount.id:
            raise InvalidInput("a secret mount needs an id or a target")
    if mount.kind == "ssh":
        mount.id = mount.id or "default"
    if mount.kind == "cache":
        mount.id = mount.id or _cleaned(mount.target)
        if mount.subpath and not mount.from_:
            hint = "from=STAGE says whose source it is; a bind mount shows the build context's"
            raise InvalidInput("a cache mount with source needs a from", hint=hint)


def _cleaned(path: str) -> str:
    """An absolute path without what says nothing; of two slashes before it, which normpath leaves, one."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path
