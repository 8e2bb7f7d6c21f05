"""-v, --mount and --tmpfs, as Docker's API holds them (cold path)."""

from __future__ import annotations

import os

from estiva.cmdline.parser import boolean
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MODES = (
    "ro", "rw", "z", "Z", "nocopy", "private", "rprivate", "shared", "rshared", "slave", "rslave", "cached",
    "consistent", "delegated", "U",
)  # fmt: skip
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"


def volumes(words: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """(Binds, Volumes) of [SOURCE:]TARGET[:MODE,...] words. Raises ValueError."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for word in dict.fromkeys(words):
        parts = word.split(":")
        if "" in parts:
            raise ValueError(f"invalid spec: {word}: empty section between colons")
        if len(parts) > 3:
            raise ValueError(f"invalid volume specification: '{word}'")
        if len(parts) == 3:
            for mode in parts[2].split(","):
                if mode not in MODES and mode.partition("=")[0] != "idmap":
                    raise ValueError(f"invalid mode: {mode}")
        target = parts[min(1, len(parts) - 1)]
        if not target.startswith("/"):
            raise ValueError(
                f"invalid volume specification: '{word}': mount path '{target}' must be absolute"
            )
        if os.path.normpath(target) in ("/", "//"):
            raise ValueError(f"invalid volume specification: '{word}': destination can't be '/'")
        if len(parts) == 1:
            anonymous[target] = {}
            continue
        parts[0] = _source(parts[0])
        if not parts[0].startswith("/"):
            volume_name(parts[0])
        binds.append(":".join(parts))
    return binds, anonymous


def _source(text: str) -> str:
    """A host path that begins with a dot is relative to the working directory."""
    return os.path.abspath(text) if text == "." or text == ".." or text.startswith(("./", "../")) else text


def volume_name(text: str) -> str:
    """Raises ValueError if `text` can't be a volume's name."""
    if not text or text[0] in "_.-" or any(c not in NAME for c in text):
        raise ValueError(
            f'"{text}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; for a host directory use an absolute path'
        )
    return text


def tmpfs(words: Iterable[str]) -> dict[str, str]:
    """Target -> options of TARGET[:OPTIONS] words. Raises ValueError."""
    result = {}
    for word in words:
        target, _, options = word.partition(":")
        if not target.startswith("/"):
            raise ValueError(f"invalid tmpfs mount '{word}': mount path must be absolute")
        result[target] = options
    return result


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
    KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "u": "chown"}
    BARE = ("readonly", "bind-nonrecursive", "volume-nocopy", "idmap", "chown")

    def __init__(self) -> None:
        self.mount: dict[str, Any] = {"Type": "volume"}
        self.bind: dict[str, Any] = {}
        self.volume: dict[str, Any] = {}
        self.tmpfs: dict[str, Any] = {}

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
            self.mount["Source"] = _source(value)
        elif key == "target":
            self.mount["Target"] = value
        elif key == "readonly":
            self.mount["ReadOnly"] = self.truth(given, value)
        elif key == "chown":
            self.mount["Chown"] = self.truth(given, value)
        elif key == "idmap":
            self.mount["IDMap"] = value
        elif key == "bind-propagation":
            if value.lower() not in PROPAGATIONS:
                raise ValueError(f"invalid value for bind-propagation: {value}")
            self.bind["Propagation"] = value.lower()
        elif key == "bind-nonrecursive":
            self.bind["NonRecursive"] = self.truth(given, value)
        elif key == "volume-nocopy":
            self.volume["NoCopy"] = self.truth(given, value)
        elif key == "volume-subpath":
            self.volume["Subpath"] = value
        elif key == "volume-label":
            label, _, text = value.partition("=")
            self.volume.setdefault("Labels", {})[label] = text
        elif key in ("volume-opt", "volume-driver"):
            if key == "volume-opt" or value != "local":
                raise ValueError(f"{key} is not supported: volumes are plain local directories")
        elif key == "tmpfs-size":
            self.tmpfs["SizeBytes"] = units.size(value)
        elif key == "tmpfs-mode":
            if not value or any(c not in "01234567" for c in value) or int(value, 8) > 0o7777:
                raise ValueError(f"invalid value for tmpfs-mode: {value}")
            self.tmpfs["Mode"] = int(value, 8)
        elif key != "consistency":
            raise ValueError(f"unexpected key '{given}' in '{field}'")

    def truth(self, key: str, value: str) -> bool:
        truth = boolean(value)
        if truth is None:
            raise ValueError(f"invalid value for {key}: {value}")
        return truth

    def result(self) -> dict[str, Any]:
        kind, target = self.mount["Type"], self.mount.get("Target", "")
        if kind not in ("bind", "volume", "tmpfs"):
            raise ValueError(f"mount type unknown: '{kind}'")
        if not target:
            raise ValueError("target is required")
        if not target.startswith("/"):
            raise ValueError(f"invalid mount path: '{target}' mount path must be absolute")
        for name, options in (("bind", self.bind), ("volume", self.volume), ("tmpfs", self.tmpfs)):
            if options and kind != name:
                raise ValueError(f"cannot mix '{name}-*' options with mount type '{kind}'")
        source = self.mount.get("Source", "")
        if kind == "bind" and not source.startswith("/"):
            raise ValueError(f"invalid mount path: '{source}' mount path must be absolute")
        if kind == "tmpfs" and "IDMap" in self.mount:
            raise ValueError("a tmpfs mount can't be id-mapped")
        if kind == "tmpfs" and self.mount.get("Chown"):
            raise ValueError("a tmpfs mount has no source to chown")
        if kind == "tmpfs" and source:
            raise ValueError("a tmpfs mount has no source")
        if kind == "volume" and source:
            volume_name(source)
        if self.bind:
            self.mount["BindOptions"] = self.bind
        if self.volume:
            self.mount["VolumeOptions"] = self.volume
        if self.tmpfs:
            self.mount["TmpfsOptions"] = self.tmpfs
        return self.mount
