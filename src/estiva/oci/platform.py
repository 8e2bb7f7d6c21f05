"""Platforms: os/architecture/variant as images name them, and which manifest of an index fits a machine."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", ""),
}
KNOWN_ARCHITECTURES = (
    *ARCHITECTURES, "386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
)  # fmt: skip
KNOWN_OS = ("linux", "windows", "darwin", "freebsd", "wasi", "js")


class Platform:
    """One platform, normalised: architecture in Go's words; variant "" where an architecture has none."""

    __slots__ = ("os", "architecture", "variant")

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        self.os = "darwin" if os.lower() == "macos" else os.lower()
        self.architecture, self.variant = _normalise(architecture.lower(), variant.lower())

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine."""
        return cls("linux", os.uname().machine)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`os/arch[/variant]`, `os` or `arch` alone. Raises InvalidInput."""
        parts = text.split("/")
        if len(text) > 128 or len(parts) > 3 or not all(_is_word(part) for part in parts):
            raise InvalidInput(
                f"invalid platform {text[:128]!r}", hint="write it as linux/amd64 or linux/arm/v7"
            )
        if len(parts) == 1:
            host = cls.host()
            if parts[0].lower() in KNOWN_OS or parts[0].lower() == "macos":
                return cls(parts[0], host.architecture, host.variant)
            if parts[0].lower() not in KNOWN_ARCHITECTURES:
                raise InvalidInput(
                    f"{parts[0]!r} is neither an operating system nor an architecture",
                    hint="write the platform as linux/amd64 or linux/arm/v7",
                )
            return cls(host.os, parts[0])
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else "")

    @classmethod
    def of(cls, document: dict[str, Any]) -> Platform:
        """The platform in a descriptor's `platform` or in an image config."""
        return cls(
            str(document.get("os") or ""),
            str(document.get("architecture") or ""),
            str(document.get("variant") or ""),
        )

    def document(self) -> dict[str, str]:
        """As a descriptor's `platform` has it; empty if nothing is known."""
        parts = {"os": self.os, "architecture": self.architecture, "variant": self.variant}
        return {key: value for key, value in parts.items() if value}

    def written(self) -> dict[str, str]:
        """As `document`, without the variant that Docker leaves out: arm64 is v8 anyway."""
        parts = self.document()
        if self.architecture == "arm64" and self.variant == "v8":
            del parts["variant"]
        return parts

    def fallbacks(self) -> list[Platform]:
        """This platform and those whose programs run on it, the best first."""
        arch, variant = self.architecture, self.variant
        found = [self]
        if arch == "arm64":
            found += [Platform(self.os, "arm64")] if variant != "v8" else []
            found += [Platform(self.os, "arm", v) for v in ("v8", "v7", "v6", "v5")]
        elif arch == "arm":
            level = int(variant[1:]) if variant[1:].isdecimal() else 7
            found += [Platform(self.os, "arm", f"v{n}") for n in range(min(level, 9) - 1, 4, -1)]
        elif arch == "amd64":
            level = int(variant[1:]) if variant[1:].isdecimal() else 1
            found += [Platform(self.os, "amd64", f"v{n}") for n in range(min(level, 9) - 1, 0, -1)]
            found.append(Platform(self.os, "386"))
        return found

    def accepts(self, other: Platform) -> bool:
        """True if an image for `other` runs where this one is asked for."""
        return other in self.fallbacks()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def __repr__(self) -> str:
        return f"Platform({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def select(index: dict[str, Any], platform: Platform) -> dict[str, Any]:
    """The descriptor of a parsed index that fits `platform` best, the first of equals. Raises NotFound.

    A descriptor without platform is taken only if it is the only one. Attestations (unknown/unknown) never
    are.
    """
    from estiva.oci.image import INDEX_TYPES, MANIFEST_TYPES

    manifests = [
        m for m in index["manifests"] if m["mediaType"] in MANIFEST_TYPES or m["mediaType"] in INDEX_TYPES
    ]
    offered = [(Platform.of(m["platform"]), m) for m in manifests if m.get("platform")]
    for wanted in platform.fallbacks():
        for there, manifest in offered:
            if there == wanted:
                return dict(manifest)
    if len(manifests) == 1 and not manifests[0].get("platform"):
        return dict(manifests[0])
    names = sorted({str(there) for there, _ in offered if there.os not in ("", "unknown")})
    raise NotFound(
        f"there is no image for {platform} in the index",
        hint="it has " + ", ".join(names[:20]) if names else "",
    )


def _is_word(part: str) -> bool:
    return bool(part) and part.isascii() and part.replace("_", "").replace("-", "").replace(".", "").isalnum()


def _normalise(architecture: str, variant: str) -> tuple[str, str]:
    architecture, implied = ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdecimal():
        variant = "v" + variant
    if architecture == "arm64":
        variant = variant or "v8"
    elif architecture == "arm":
        variant = variant or "v7"
    elif architecture == "amd64" and variant == "v1":
        variant = ""
    return architecture, variant
