"""Annotations of a build's image, as --annotation of buildx and annotation.* of its outputs say them.

    [TYPE[PLATFORM],...:]KEY=VALUE           of --annotation
    annotation[-TYPE][PLATFORM].KEY=VALUE    of -o

TYPE is manifest (the default), manifest-descriptor, index or index-descriptor (OCI image-spec,
annotations.md).
"""

from __future__ import annotations

from estiva.errors import InvalidInput, oneline
from estiva.oci.platform import Platform

KINDS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_TYPE = r"(?a)([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?"
_WORD = r"(?a)(?:([a-z-]+(?:\[[A-Za-z0-9_/-]+\])?(?:,[a-z-]+(?:\[[A-Za-z0-9_/-]+\])?)*):)?(\S+)"
_ATTRIBUTE = r"(?a)annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)"


class Annotations:
    """Key-value pairs by what they are said of; those of a platform go before those of all."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], dict[str, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._said)

    def copy(self) -> Annotations:
        made = Annotations()
        made._said = {key: dict(pairs) for key, pairs in self._said.items()}
        return made

    def add(self, word: str) -> None:
        """One word of --annotation. Raises InvalidInput."""
        import re

        left, equals, value = word.partition("=")
        found = re.fullmatch(_WORD, left)
        if not equals or found is None:
            raise InvalidInput(
                f"invalid annotation {oneline(word)!r}", hint="it is [TYPE[PLATFORM]:]KEY=VALUE"
            )
        for each in (found[1] or "manifest").split(","):
            kind = re.fullmatch(_TYPE, each)
            assert kind is not None
            self._put(kind[1], kind[2] or "", found[2], value)

    def attribute(self, key: str, value: str) -> bool:
        """An output's attribute, if it is an annotation's. Raises InvalidInput."""
        if not key.startswith("annotation"):
            return False
        import re

        found = re.fullmatch(_ATTRIBUTE, key)
        if found is None:
            return False
        self._put(found[1] or "manifest", found[2] or "", found[3], value)
        return True

    def _put(self, kind: str, platform: str, key: str, value: str) -> None:
        if kind not in KINDS:
            raise InvalidInput(
                f"unknown annotation type {oneline(kind)!r}", hint="one of " + ", ".join(KINDS)
            )
        if platform and kind.startswith("index"):
            raise InvalidInput(
                f"an annotation of the type {kind} is of no platform", hint=f"{kind}:{key}=..."
            )
        where = str(Platform.parse(platform)) if platform else ""
        self._said.setdefault((kind, where), {})[key] = value

    def of(self, kind: str, platform: Platform | None = None) -> dict[str, str]:
        """What is said of one kind, for a platform."""
        found = dict(self._said.get((kind, ""), {}))
        return found | (self._said.get((kind, str(platform)), {}) if platform is not None else {})

    def check(self, platforms: list[Platform], index: bool) -> None:
        """Raises InvalidInput for a platform that is not built, and for an index that there is not."""
        built = {str(platform) for platform in platforms}
        for kind, where in self._said:
            if where and where not in built:
                raise InvalidInput(
                    f"there is an annotation for {where}, which is not built",
                    hint="it is built: " + ", ".join(sorted(built)),
                )
            if kind.startswith("index") and not index:
                raise InvalidInput(
                    f"an annotation of the type {kind} needs an index, and there is one manifest",
                    hint="several --platform or --provenance=mode=min make an index",
                )
