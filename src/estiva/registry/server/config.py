"""The registry server's one TOML file, which docs/registry.md describes; the command line goes before it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from estiva import files
from estiva.errors import InvalidInput, NotFound, oneline, reason
from estiva.registry import grammar
from estiva.registry.server import access, mirror
from estiva.registry.server.storage import gc as storage_gc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

LIMIT = 1 << 20
DAY = 86400.0


@dataclass
class Collecting:
    """`interval` seconds between two collections while serving, 0: none."""

    interval: float = 6 * 3600.0
    grace: float = storage_gc.GRACE
    untagged: bool = False


@dataclass
class Tokens:
    """Bearer tokens: our own, or with `jwks` those of `issuer`."""

    realm: str = ""
    service: str = "estiva"
    issuer: str = ""
    jwks: str = ""
    life: int = 300


@dataclass
class Config:
    """How a registry serves. Sizes are in bytes, times in seconds."""

    listen: str = "127.0.0.1:5000"
    root: str = ""
    htpasswd: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    read_only: bool = False
    access_log: str | None = None
    stop_timeout: float = 10.0
    connections: int = 1000
    rules: list[access.Rule] = field(default_factory=list)
    tokens: Tokens | None = None
    storage: dict[str, str] = field(default_factory=dict)
    upstreams: list[mirror.Upstream] = field(default_factory=list)
    gc: Collecting = field(default_factory=Collecting)

    @property
    def keep(self) -> dict[str, float]:
        return {one.prefix: one.keep for one in self.upstreams if one.keep is not None}


def load(path: str) -> Config:
    """Read the file. Raises InvalidInput, with the place, for what it may not have; NotFound."""
    import tomllib

    try:
        document = tomllib.loads(files.read_bounded(path, LIMIT).decode())
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid toml: {oneline(str(error))[:200]}") from None
    return _Reader(path).config(document)


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path

    def wrong(self, what: str) -> InvalidInput:
        return InvalidInput(f"{self.path}: {what}")

    def config(self, document: Mapping[str, Any]) -> Config:
        known = (
            "listen", "root", "htpasswd", "tls-cert", "tls-key", "read-only", "access-log", "stop-timeout",
            "connections", "rule", "token", "storage", "upstream", "gc",
        )  # fmt: skip
        self.only(document, known, "the file")
        config = Config()
        config.listen = self.text(document, "listen", config.listen)
        config.root = self.file(document, "root") or ""
        config.htpasswd = self.file(document, "htpasswd")
        config.tls_cert = self.file(document, "tls-cert")
        config.tls_key = self.file(document, "tls-key")
        config.access_log = self.file(document, "access-log")
        config.read_only = self.flag(document, "read-only", False)
        config.stop_timeout = self.number(document, "stop-timeout", config.stop_timeout)
        config.connections = max(1, int(self.number(document, "connections", config.connections)))
        for number, table in enumerate(self.tables(document, "rule"), 1):
            config.rules.append(access.read_rule(table, f"{self.path}: rule {number}"))
        config.upstreams = [
            self.upstream(table, f"upstream {number}")
            for number, table in enumerate(self.tables(document, "upstream"), 1)
        ]
        if len({one.prefix for one in config.upstreams}) < len(config.upstreams):
            raise self.wrong("two upstreams have one prefix")
        config.storage = self.storage(document)
        config.tokens = self.tokens(document)
        config.gc = self.collecting(document)
        return config

    def upstream(self, table: Mapping[str, Any], where: str) -> mirror.Upstream:
        self.only(table, ("prefix", "registry", "auth", "fresh", "keep-days"), where)
        prefix, registry = self.text(table, "prefix", ""), self.text(table, "registry", "")
        if not grammar.is_name(prefix):
            raise self.wrong(f"{where} has no prefix that is a repository's name")
        if not grammar.HOST.fullmatch(registry):
            raise self.wrong(f"{where} has no registry: write HOST or HOST:PORT, no scheme")
        keep = self.number(table, "keep-days", 0) * DAY if "keep-days" in table else None
        fresh = self.number(table, "fresh", mirror.FRESH)
        return mirror.Upstream(prefix, registry, self.file(table, "auth"), fresh, keep)

    def storage(self, document: Mapping[str, Any]) -> dict[str, str]:
        table = self.table(document, "storage")
        if not table:
            return {}
        if not isinstance(table.get("url"), str) or "://" not in table["url"]:
            raise self.wrong("storage has no url, such as s3://BUCKET/PREFIX")
        if not all(isinstance(value, (str, bool)) for value in table.values()):
            raise self.wrong("storage may hold texts, true and false only")
        return {key: value if isinstance(value, str) else str(value).lower() for key, value in table.items()}

    def tokens(self, document: Mapping[str, Any]) -> Tokens | None:
        if "token" not in document:
            return None
        table = self.table(document, "token")
        self.only(table, ("realm", "service", "issuer", "jwks", "life"), "token")
        tokens = Tokens(
            self.text(table, "realm", ""),
            self.text(table, "service", "estiva"),
            self.text(table, "issuer", ""),
            self.file(table, "jwks") or "",
            max(60, int(self.number(table, "life", 300))),
        )
        if any(not text.isprintable() or '"' in text for text in (tokens.realm, tokens.service)):
            raise self.wrong("token.realm or token.service has characters that no header can hold")
        if tokens.jwks and not (tokens.realm and tokens.issuer):
            raise self.wrong("token.jwks needs token.realm and token.issuer")
        return tokens

    def collecting(self, document: Mapping[str, Any]) -> Collecting:
        table = self.table(document, "gc")
        self.only(table, ("interval", "grace", "untagged"), "gc")
        default = Collecting()
        return Collecting(
            self.number(table, "interval", default.interval),
            self.number(table, "grace", default.grace),
            self.flag(table, "untagged", False),
        )

    # ---- values

    def only(self, table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        known = tuple(known)
        for key in table:
            if key not in known:
                raise InvalidInput(
                    f"{self.path}: {where} has the unknown key {oneline(key)!r}",
                    hint=f"it may have {', '.join(known)}",
                )

    def table(self, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(f"{key} is not a table: write [{key}]")
        return value

    def tables(self, document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        value = document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise self.wrong(f"{key} is not a list of tables: write [[{key}]]")
        return value

    def text(self, table: Mapping[str, Any], key: str, default: str) -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(f"{key} is not text")
        return value

    def file(self, table: Mapping[str, Any], key: str) -> str | None:
        """A path, beside the file if it is relative; `-` stays what it is."""
        value = self.text(table, key, "")
        if not value or value == "-":
            return value or None
        return os.path.join(os.path.dirname(os.path.abspath(self.path)), value)

    def flag(self, table: Mapping[str, Any], key: str, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(f"{key} is neither true nor false")
        return value

    def number(self, table: Mapping[str, Any], key: str, default: float) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise self.wrong(f"{key} is not a number from 0")
        return float(value)
