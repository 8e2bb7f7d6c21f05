"""-v, --mount and --tmpfs, as Docker's API holds them (cold path)."""

from __future__ import annotations

from estiva.cmdline.parser import boolean
from estiva.engine.spec.mounts import absolute
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def volumes(words: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """(Binds, Volumes) of [SOURCE:]TARGET[:MODE,...] words."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for word in dict.fromkeys(words):
        source, colon, rest = word.partition(":")
        if colon:
            binds.append(f"{absolute(source)}:{rest}")
        else:
            anonymous[word] = {}
    return binds, anonymous


def tmpfs(words: Iterable[str]) -> dict[str, str]:
    """Target -> options of TARGET[:OPTIONS] words."""
    return {target: options for target, _, options in (word.partition(":") for word in words)}


def mount(word: str) -> dict[str, Any]:
    """One Mount of the API of "type=bind,src=/a,dst=/b,ro". Raises ValueError."""
    reader = _Mount()
    for field in _fields(word):
        reader.field(field)
    return reader.result()


def _fields(text: str) -> list[str]:
    """One CSV record (RFC 4180): a field may be quoted to hold commas; "" is a quote in it."""
    fields: list[str] = []
    position = 0
    while position <= len(text):
        if text[position : position + 1] == '"':
            value = ""
            while True:
                end = text.find('"', position + 1)
                if end < 0:
                    raise ValueError(f"invalid mount {text}: a quote is not closed")
                value += text[position + 1 : end]
                position = end + 1
                if text[position : position + 1] != '"':
                    break
                value += '"'
            if text[position : position + 1] not in ("", ","):
                raise ValueError(f"invalid mount {text}: text after a closing quote")
            end = position
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            value = text[position:end]
        fields.append(value)
        position = end + 1
    return fields


class _Mount:
    KEYS = {
        "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "u": "chown",
        "rw": "readwrite", "subpath": "image-subpath",
    }  # fmt: skip
    BARE = (
        "readonly", "readwrite", "bind-nonrecursive", "volume-nocopy", "idmap", "chown", "tmpcopyup",
        "notmpcopyup", "noswap", "no-dereference",
    )  # fmt: skip
    DEVPTS = ("uid", "gid", "mode", "max")

    def __init__(self) -> None:
        self.mount: dict[str, Any] = {"Type": "volume"}
        self.bind: dict[str, Any] = {}
        self.volume: dict[str, Any] = {}
        self.tmpfs: dict[str, Any] = {}
        self.image: dict[str, Any] = {}
        self.devpts: dict[str, Any] = {}
        self.flags: list[str] = []
        self.rw: bool | None = None
        self.driver: dict[str, Any] = {}

    def field(self, field: str) -> None:
        given, equals, value = field.partition("=")
        given = given.lower()
        key = self.KEYS.get(given, given)
        if not equals:
            if key not in self.BARE:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true" if key != "idmap" else ""
        if key == "type":
            self.mount["Type"] = value.lower()
        elif key == "source":
            self.mount["Source"] = absolute(value)
        elif key == "target":
            self.mount["Target"] = value
        elif key == "readonly":
            self.mount["ReadOnly"] = self.truth(given, value)
        elif key == "chown":
            self.mount["Chown"] = self.truth(given, value)
        elif key == "idmap":
            self.mount["IDMap"] = value
        elif key == "bind-propagation":
            self.bind["Propagation"] = value.lower()
        elif key == "readwrite":
            self.rw = self.truth(given, value)
        elif key == "bind-nonrecursive":
            self.bind["NonRecursive"] = self.truth(given, value)
        elif key == "bind-recursive":
            self.recursive(value)
        elif key == "image-subpath":
            self.image["Subpath"] = value
        elif key in ("tmpcopyup", "notmpcopyup", "noswap"):
            if self.truth(given, value):
                self.flags.append(key)
        elif key in self.DEVPTS:
            if not value.isascii() or not value.isdigit() or len(value) > 10:
                raise ValueError(f"invalid value for {key}: {value}")
            self.devpts[key.capitalize()] = int(value, 8 if key == "mode" else 10)
        elif key == "volume-nocopy":
            self.volume["NoCopy"] = self.truth(given, value)
        elif key == "volume-subpath":
            self.volume["Subpath"] = value
        elif key == "volume-label":
            label, _, text = value.partition("=")
            self.volume.setdefault("Labels", {})[label] = text
        elif key == "volume-driver":
            self.driver["Name"] = value
        elif key == "volume-opt":
            option, _, text = value.partition("=")
            self.driver.setdefault("Options", {})[option] = text
        elif key == "tmpfs-size":
            self.tmpfs["SizeBytes"] = units.size(value)
        elif key == "tmpfs-mode":
            if not value or any(c not in "01234567" for c in value) or int(value, 8) > 0o7777:
                raise ValueError(f"invalid value for tmpfs-mode: {value}")
            self.tmpfs["Mode"] = int(value, 8)
        elif key == "relabel":
            if value not in ("shared", "private"):
                raise ValueError(f"invalid value for relabel: {value} (must be shared or private)")
        elif key == "no-dereference":
            raise ValueError("no-dereference is not supported: a symlink as the source is followed")
        elif key != "consistency":
            raise ValueError(f"unexpected key '{given}' in '{field}'")

    def recursive(self, value: str) -> None:
        """bind-recursive: Docker's words for three flags."""
        if value not in ("enabled", "disabled", "writable", "readonly"):
            raise ValueError(
                f"invalid value for bind-recursive: {value} (must be enabled, disabled, writable or readonly)"
            )
        key = {
            "disabled": "NonRecursive",
            "writable": "ReadOnlyNonRecursive",
            "readonly": "ReadOnlyForceRecursive",
        }
        if value in key:
            self.bind[key[value]] = True

    def truth(self, key: str, value: str) -> bool:
        truth = boolean(value)
        if truth is None:
            raise ValueError(f"invalid value for {key}: {value}")
        return truth

    def result(self) -> dict[str, Any]:
        if not self.mount.get("Target"):
            raise ValueError("target is required")
        if self.driver:
            self.volume["DriverConfig"] = self.driver
        kind = self.mount["Type"]
        if self.rw is not None and kind == "image":
            self.image["ReadWrite"] = self.rw
        elif self.rw is not None:
            self.mount["ReadOnly"] = not self.rw
        if self.flags and kind != "tmpfs":
            raise ValueError(f"{self.flags[0]} is for a mount of type tmpfs")
        if self.flags:
            self.mount["TmpfsFlags"] = ",".join(flag for flag in self.flags if flag != "notmpcopyup")
        groups = (
            ("Bind", self.bind), ("Volume", self.volume), ("Tmpfs", self.tmpfs), ("Image", self.image),
            ("Devpts", self.devpts),
        )  # fmt: skip
        for name, options in groups:
            if options:
                self.mount[f"{name}Options"] = options
        return self.mount
