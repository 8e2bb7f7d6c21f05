"""Whether a pull has anything to do: one HEAD, by hand, before the HTTP client is loaded.

Most pulls of scripts find the image unchanged, and loading the client takes longer than all of their work.
Asked without credentials, as every first request is; whatever is not a plain "it is the same" is left to the
client (registry/transfer/pull.py), which asks again: a challenge, a redirect, an error, a host with a rule,
a proxy.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.oci.reference import Reference
    from estiva.store import Store
    from estiva.store.images import Image

LOOPBACK = ("localhost", "127.0.0.1")  # plain http; the client finds out where it is https
HEADERS_LIMIT = 16 << 10
PATIENCE = 5.0  # seconds for the whole; the client is more patient
TYPES = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
)


def unchanged(store: Store, reference: Reference) -> Image | None:
    """The image that the reference means here, if its registry says that it still does; else None."""
    image = store.images.find(str(reference)) if reference.tag and not reference.digest else None
    if image is None or not _simple(reference.registry):
        return None
    known = _digests(store, reference, image)
    if not known or not all(store.layers.has(diff_id) for diff_id in image.diff_ids):
        return None
    if image.manifest and not store.content.has(image.manifest):
        return None
    from estiva.oci.platform import Platform

    if not Platform.host().accepts(Platform.of(image.config)):
        return None
    try:
        digest = _ask(reference)
    except (OSError, ValueError):
        return None
    return image if digest in known else None


def _digests(store: Store, reference: Reference, image: Image) -> set[str]:
    rows = store.db.read(
        "SELECT digest FROM repo_digests WHERE name = ? AND image = ?", (reference.name, image.id)
    )
    return {digest for (digest,) in rows}


def _simple(host: str) -> bool:
    """Whether the host may be asked without settings, proxies or a token."""
    if host == "docker.io":
        return False  # always wants a token first
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if any(name.startswith("ESTIVA_REGIST") for name in os.environ):
        return False
    if any(os.path.exists(f"{folder}/estiva/registries.toml") for folder in (config, "/etc")):
        return False
    if host.partition(":")[0] in LOOPBACK:
        return True
    return not host.startswith("[") and not any(name.lower() == "https_proxy" for name in os.environ)


def _ask(reference: Reference) -> str:
    """The digest that the registry gives for the tag, "" for any other answer. Raises OSError, ValueError."""
    import _socket
    import time

    until = time.monotonic() + PATIENCE
    host, colon, port = reference.registry.partition(":")
    plain = host in LOOPBACK
    number = int(port) if colon else 80 if plain else 443
    # as bytes: a str would have the codec for international names loaded, which takes 3 ms
    found = _socket.getaddrinfo(host.encode("ascii"), number, 0, _socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    stream: Any
    if plain:
        stream = _socket.socket(family, kind, protocol)
    else:
        import socket
        import ssl

        raw = socket.socket(family, kind, protocol)
        raw.settimeout(PATIENCE)
        stream = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
    try:
        stream.settimeout(PATIENCE)
        stream.connect(address)
        stream.sendall(
            f"HEAD /v2/{reference.repository}/manifests/{reference.tag} HTTP/1.1\r\n"
            f"Host: {reference.registry}\r\nAccept: {TYPES}\r\nUser-Agent: estiva\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            left = until - time.monotonic()
            if len(answer) > HEADERS_LIMIT or left <= 0:
                return ""
            stream.settimeout(left)
            piece = stream.recv(HEADERS_LIMIT)
            if not piece:
                return ""
            answer += piece
    finally:
        stream.close()
    status, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.") or status.split(" ")[1:2] != ["200"]:
        return ""
    digests = [
        line.partition(":")[2].strip() for line in lines if line.lower().startswith("docker-content-digest:")
    ]
    return digests[0] if len(digests) == 1 else ""
