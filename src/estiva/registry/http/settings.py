"""How the registry client behaves: time limits, retries, parallel layers, hosts with a rule of their own.

One small TOML file, the first there is of ESTIVA_REGISTRIES, $XDG_CONFIG_HOME/estiva/registries.toml
(~/.config) and /etc/estiva/registries.toml; ESTIVA_REGISTRY_* in the environment go before it:

    parallel = 6                      # layers at once
    connect = 10                      # seconds until a connection must stand
    stall = 30                        # seconds without a byte
    attempts = 5                      # tries in a row that bring nothing
    ca = "/etc/ssl/our-ca.pem"        # further certificate authorities, for all hosts

    [registry."docker.io"]
    mirrors = ["mirror.example.org", "cache.example.org:5000/hub"]    # asked first, in this order

    [registry."10.0.0.7:5000"]
    plain-http = true                 # no TLS; there is no silent fallback to it (K11)

    [registry."old.example.org"]
    verify = false                    # TLS, but any certificate
    ca = "old.pem"                    # or: certificates of this host alone
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from estiva import files
from estiva.errors import InvalidInput, oneline, reason
from estiva.oci.reference import DEFAULT_REGISTRY, Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.registry.http.credentials import Credentials

FILE_LIMIT = 1 << 20
NUMBERS = ("connect", "stall", "attempts", "parallel")
MIRRORS = 16


@dataclass(frozen=True)
class Rule:
    """What the user said of one registry: `mirrors` are (HOST[:PORT], prefix of its repositories or "")."""

    mirrors: tuple[tuple[str, str], ...] = ()
    plain_http: bool = False
    verify: bool = True
    authority: str | None = None


@dataclass(frozen=True)
class Settings:
    """Times are in seconds.

    `attempts` counts tries in a row that brought nothing; one that brought bytes starts the count again.
    `plain_http` names hosts (HOST or HOST:PORT) that are spoken to without TLS because the user said so;
    loopback needs no entry. `authority` is a PEM file of further certificate authorities. `rules` has what
    the file says of single hosts. `logins`: the credentials of hosts, instead of those that files have.
    """

    connect: float = 10.0
    stall: float = 30.0
    attempts: int = 5
    backoff: float = 0.4
    backoff_limit: float = 8.0
    retry_after_limit: float = 60.0
    parallel: int = 4
    plain_http: frozenset[str] = frozenset()
    authority: str | None = None
    auth_file: str | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    logins: Mapping[str, Credentials] | None = None

    @classmethod
    def from_environment(cls) -> Settings:
        """The defaults, changed by the file and by ESTIVA_REGISTRY_{CONNECT,STALL,ATTEMPTS,PARALLEL,
        PLAIN_HTTP,CA}. Raises InvalidInput."""
        default = cls()
        path, document = _file()
        rules = _rules(path, document)
        numbers = {
            name: _number(name, _from_file(path, document, name, getattr(default, name))) for name in NUMBERS
        }
        hosts = os.environ.get("ESTIVA_REGISTRY_PLAIN_HTTP", "")
        plain = {host.strip() for host in hosts.split(",") if host.strip()}
        return cls(
            connect=numbers["connect"],
            stall=numbers["stall"],
            attempts=max(1, int(numbers["attempts"])),
            parallel=max(1, int(numbers["parallel"])),
            plain_http=frozenset(plain | {host for host, rule in rules.items() if rule.plain_http}),
            authority=os.environ.get("ESTIVA_REGISTRY_CA") or _path(path, document, "ca", "ca"),
            rules=rules,
        )

    def rule(self, host: str, port: int | None = None) -> Rule:
        """The rule for HOST:PORT, else the one for HOST."""
        return self.rules.get(f"{host}:{port}") or self.rules.get(host) or _NO_RULE


_NO_RULE = Rule()


def paths() -> list[str]:
    """Where the file may be, the first one that is there counts."""
    alone = os.environ.get("ESTIVA_REGISTRIES")
    if alone:
        return [alone]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [f"{home}/estiva/registries.toml", "/etc/estiva/registries.toml"]


def _file() -> tuple[str, dict[str, Any]]:
    for path in paths():
        try:
            data = files.read_bounded(path, FILE_LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise InvalidInput(f"can't read {path}: {reason(error)}") from None
        import tomllib

        try:
            document = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is not valid toml: {oneline(str(error))[:200]}") from None
        unknown = set(document) - {*NUMBERS, "ca", "registry"}
        if unknown:
            raise InvalidInput(
                f"{path} has the unknown key {oneline(min(unknown))!r}",
                hint=f"it may have {', '.join(NUMBERS)}, ca and [registry.HOST]",
            )
        return path, document
    return "", {}


def _rules(path: str, document: dict[str, Any]) -> dict[str, Rule]:
    tables = document.get("registry", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidInput(f"{path}: registry is not a table of tables", hint='write [registry."HOST"]')
    return {_host(path, host): _rule(path, host, table) for host, table in tables.items()}


def _rule(path: str, host: str, table: dict[str, Any]) -> Rule:
    where = f"registry.{oneline(host)}"
    unknown = set(table) - {"mirrors", "plain-http", "verify", "ca"}
    if unknown:
        raise InvalidInput(
            f"{path}: {where} has the unknown key {oneline(min(unknown))!r}",
            hint="it may have mirrors, plain-http, verify and ca",
        )
    for key in ("plain-http", "verify"):
        if not isinstance(table.get(key, True), bool):
            raise InvalidInput(f"{path}: {where}.{key} is neither true nor false")
    mirrors = table.get("mirrors", [])
    if not isinstance(mirrors, list) or len(mirrors) > MIRRORS:
        raise InvalidInput(f"{path}: {where}.mirrors is not a list of at most {MIRRORS} hosts")
    return Rule(
        mirrors=tuple(_mirror(path, mirror) for mirror in mirrors),
        plain_http=table.get("plain-http", False),
        verify=table.get("verify", True),
        authority=_path(path, table, "ca", f"{where}.ca"),
    )


def _host(path: str, host: str) -> str:
    if host in ("index.docker.io", "registry-1.docker.io"):
        return DEFAULT_REGISTRY
    known = host if "." in host or ":" in host or host == "localhost" else f"{host}:443"
    try:
        Reference.parse(f"{known}/x")
    except InvalidInput:
        raise InvalidInput(
            f"{path}: {oneline(host)!r} is not a registry's host", hint="write HOST or HOST:PORT, no scheme"
        ) from None
    return host


def _mirror(path: str, mirror: Any) -> tuple[str, str]:
    if not isinstance(mirror, str):
        raise InvalidInput(f"{path}: a mirror is not text")
    host, slash, prefix = mirror.partition("/")
    _host(path, host)
    prefix = prefix.strip("/")
    if slash and prefix:
        try:
            Reference.parse(f"x.example/{prefix}/x")
        except InvalidInput:
            raise InvalidInput(f"{path}: {oneline(mirror)!r} is not a mirror: write HOST[/PREFIX]") from None
    return host, prefix


def _path(path: str, table: dict[str, Any], key: str, where: str) -> str | None:
    """A file that the settings name, beside them if it is relative."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{path}: {where} is not the path of a file")
    return os.path.join(os.path.dirname(os.path.abspath(path)), value)


def _from_file(path: str, document: dict[str, Any], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise InvalidInput(f"{path}: {name} is {oneline(str(value))[:40]}, not a positive number")
    return float(value)


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"ESTIVA_REGISTRY_{name.upper()}")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise InvalidInput(f"ESTIVA_REGISTRY_{name.upper()} is {text!r}, not a positive number")
    return value
