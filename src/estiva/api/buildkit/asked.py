"""The words of dockerfile.v0 and of caches, as the options of engine.builds.build. Pure.

frontend/dockerui/config.go and frontend/dockerfile/builder of moby/buildkit say what they mean.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from estiva.errors import EstivaError, InvalidInput, brief
from estiva.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

# what is read elsewhere, or says nothing about what is built
PASSED = (
    "filename", "context", "contextkey", "dockerfilekey", "contextsubdir", "cmdline", "source",
    "frontend.caps", "requestid", "cache-imports", "cache-from", "multi-platform", "local-sessionid:",
    "input-metadata:", "vcs:", "context:", "attest:", "hostname",
)  # fmt: skip
DEFAULT_ATTESTATION = "mode=min,inline-only=true"  # that buildx asks for of its own; ours has its own rule
ENTITLEMENTS = ("network.host", "security.insecure", "device")


def options(attrs: dict[str, str]) -> dict[str, Any]:
    """Raises InvalidInput, Unsupported."""
    found: dict[str, Any] = {
        "build_args": _under(attrs, "build-arg:"),
        "labels": _under(attrs, "label:"),
        "target": attrs.get("target") or None,
        "pull": attrs.get("image-resolve-mode", "") == "pull",
        "network": _network(attrs.get("force-network-mode", "")),
        "limits": _limits(attrs),
    }
    if hostname := attrs.get("hostname"):
        found["build_args"].setdefault("BUILDKIT_SANDBOX_HOSTNAME", hostname)
    if "no-cache" in attrs:
        names = [name.strip() for name in attrs["no-cache"].split(",") if name.strip()]
        found["no_cache"] = not names
        found["no_cache_filter"] = names
    platforms = [word.strip() for word in attrs.get("platform", "").split(",") if word.strip()]
    if len(platforms) == 1:
        found["platform"] = platforms[0]
    elif platforms:
        found["platforms"] = platforms
    found["attest"] = [
        f"type={kind}" + (f",{words}" if words else "")
        for kind, words in _under(attrs, "attest:").items()
        if (kind, words) != ("provenance", DEFAULT_ATTESTATION)
    ]
    return found


def unknown(attrs: dict[str, str]) -> list[str]:
    """The words that mean nothing here: they are told."""
    known = (
        *PASSED, "build-arg:", "label:", "target", "image-resolve-mode", "force-network-mode", "no-cache",
        "platform", "add-hosts", "shm-size", "ulimit", "cgroup-parent",
    )  # fmt: skip
    return [
        name for name in attrs if not any(name.startswith(k) if k.endswith(":") else name == k for k in known)
    ]


def _under(attrs: dict[str, str], prefix: str) -> dict[str, str]:
    return {name[len(prefix) :]: value for name, value in attrs.items() if name.startswith(prefix)}


def _network(word: str) -> str:
    modes = {"": "default", "sandbox": "default", "default": "default", "host": "host", "none": "none"}
    if word not in modes:
        raise InvalidInput(f"invalid network mode {brief(word, 60)}")
    return modes[word]


def _limits(attrs: dict[str, str]) -> dict[str, Any]:
    """HostConfig of RUN."""
    host: dict[str, Any] = {}
    if hosts := _csv(attrs.get("add-hosts", "")):
        pairs = [word.partition("=") for word in hosts]
        host["ExtraHosts"] = [f"{name}:{address}" for name, _, address in pairs]
    if size := attrs.get("shm-size"):
        if not (size.isascii() and size.isdecimal() and len(size) < 19):
            raise InvalidInput(f"invalid shm-size {brief(size, 60)}")
        host["ShmSize"] = int(size)
    if limits := _csv(attrs.get("ulimit", "")):
        host["Ulimits"] = [_ulimit(word) for word in limits]
    if parent := attrs.get("cgroup-parent"):
        host["CgroupParent"] = parent
    return host


def _ulimit(word: str) -> dict[str, Any]:
    name, _, values = word.partition("=")
    soft, colon, hard = values.partition(":")
    try:
        return {"Name": name, "Soft": int(soft), "Hard": int(hard if colon else soft)}
    except ValueError:
        raise InvalidInput(f"invalid ulimit {brief(word, 60)}") from None


def _csv(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), []) if text else []
    except csv.Error as error:
        raise InvalidInput(f"{brief(text, 60)}: {error}") from None


def imports(attrs: dict[str, str], given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The caches to read: gateway clients tell of them as one of the words. Raises InvalidInput."""
    text = attrs.get("cache-imports", "")
    if given or not text:
        return given
    try:
        found = json.loads(text)
        return [
            {"type": str(each["Type"]), "attrs": {str(k): str(v) for k, v in (each["Attrs"] or {}).items()}}
            for each in found
        ]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InvalidInput("cache-imports is no list of caches") from None


def cache(entry: dict[str, Any], **places: str) -> str:
    """A cache's word as --cache-from and --cache-to have it, with other places than the client's. Raises
    InvalidInput: no name of a field may bring in another kind, or a place of this machine."""
    attrs = {**entry.get("attrs", {}), **places}
    for name in attrs:
        if not name.replace("-", "").isalpha() or name.lower() == "type":
            raise InvalidInput(f"a cache has no field {brief(name, 60)}")
        if name.lower() in ("src", "dest") and name not in places:
            raise InvalidInput(f"a cache of type {brief(entry.get('type', ''), 60)} has no {name}")
    out = [f"type={entry.get('type', '')}", *(f"{name}={value}" for name, value in attrs.items())]
    return ",".join('"' + word.replace('"', '""') + '"' for word in out)


def entitlements(words: Sequence[str]) -> list[str]:
    return [word for word in words if word]


def whole(name: str) -> str:
    """A reference in full, as docker tells it: docker.io/library/x:latest."""
    try:
        return str(Reference.parse(name))
    except EstivaError:
        return name


def named(name: str) -> str:
    """A reference as dockerd's exporter tells it: in full, but for a tag that was not given."""
    try:
        found = Reference.parse(name)
    except EstivaError:
        return name
    bare = f"{found.registry}/{found.repository}"
    given = name.rpartition("/")[2]
    return str(found) if ":" in given or "@" in given else bare
