"""How the registry client behaves: time limits, retries, parallel layers, hosts with a rule of their own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from estiva.errors import InvalidInput


@dataclass(frozen=True)
class Settings:
    """Times are in seconds.

    `attempts` counts tries in a row that brought nothing; one that brought bytes starts the count again.
    `plain_http` names hosts (HOST or HOST:PORT) that are spoken to without TLS because the user said so;
    loopback needs no entry. `authority` is a PEM file of further certificate authorities.
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

    @classmethod
    def from_environment(cls) -> Settings:
        """The defaults, changed by ESTIVA_REGISTRY_{CONNECT,STALL,ATTEMPTS,PARALLEL,PLAIN_HTTP,CA}."""
        default = cls()
        hosts = os.environ.get("ESTIVA_REGISTRY_PLAIN_HTTP", "")
        return cls(
            connect=_number("CONNECT", default.connect),
            stall=_number("STALL", default.stall),
            attempts=max(1, int(_number("ATTEMPTS", default.attempts))),
            parallel=max(1, int(_number("PARALLEL", default.parallel))),
            plain_http=frozenset(host.strip() for host in hosts.split(",") if host.strip()),
            authority=os.environ.get("ESTIVA_REGISTRY_CA") or None,
        )


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"ESTIVA_REGISTRY_{name}")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise InvalidInput(f"ESTIVA_REGISTRY_{name} is {text!r}, not a positive number")
    return value
