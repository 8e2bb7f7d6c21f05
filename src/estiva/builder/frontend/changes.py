"""TODO docstring."""

from __future__ import annotations

from typing import Any

from estiva.errors import InvalidInput

NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply_changes(document: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """A copy of an image config with Dockerfile instructions applied, as `commit --change` and `import
    --change` do.

    CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. Raises
    InvalidInput.
    """
    from copy import deepcopy

    document = deepcopy(document)
    config: dict[str, Any] = document.get("config") or {}
    document["config"] = config
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        handler = _INSTRUCTIONS.get(word.upper())
        if handler is None:
            raise InvalidInput(f"{word!r} can't be used in a change", hint="use " + ", ".join(_INSTRUCTIONS))
        if not rest:
            raise InvalidInput(f"{word.upper()} needs an argument")
        handler(config, rest)
    return document


def _array(rest: str) -> list[str] | None:
    """The exec form `["a", "b"]` of an instruction, or None for the shell form."""
    if not rest.startswith("["):
        return None
    from estiva import fastjson

    try:
        value = fastjson.loads(rest)
    except InvalidInput:
        return None
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _shell(config: dict[str, Any], rest: str) -> list[str]:
    exact = _array(rest)
    return exact if exact is not None else [*(config.get("Shell") or ["/bin/sh", "-c"]), rest]


def _words(rest: str) -> list[str]:
    import shlex

    try:
        return shlex.split(rest)
    except ValueError as error:
        raise InvalidInput(f"{rest!r}: {str(error).lower()}") from None


def _pairs(rest: str, instruction: str) -> list[tuple[str, str]]:
    """`A=b C="d e"`, or the old form `A the rest`."""
    first = rest.split(None, 1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise InvalidInput(f"{instruction} needs a name and a value")
        return [(first[0], first[1])]
    pairs = []
    for word in _words(rest):
        name, equal, value = word.partition("=")
        if not equal or not name:
            raise InvalidInput(f"{instruction} has {word!r}, which is not NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _cmd(config: dict[str, Any], rest: str) -> None:
    config["Cmd"] = _shell(config, rest)


def _entrypoint(config: dict[str, Any], rest: str) -> None:
    config["Entrypoint"] = _shell(config, rest)


def _env(config: dict[str, Any], rest: str) -> None:
    env: dict[str, str] = {}
    for item in config.get("Env") or []:
        name, _, value = item.partition("=")
        env[name] = value
    env.update(_pairs(rest, "ENV"))
    config["Env"] = [f"{name}={value}" for name, value in env.items()]


def _label(config: dict[str, Any], rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(rest, "LABEL"))}


def _expose(config: dict[str, Any], rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in rest.split():
        port, _, protocol = word.lower().partition("/")
        low, _, high = port.partition("-")
        protocol = protocol or "tcp"
        if protocol not in ("tcp", "udp", "sctp") or not low.isdecimal() or not (high or low).isdecimal():
            raise InvalidInput(f"EXPOSE has {word!r}, which is not a port")
        first, last = int(low), int(high or low)
        if not 0 < first <= last <= 65535:
            raise InvalidInput(f"EXPOSE has {word!r}, which is not a port")
        for number in range(first, last + 1):
            ports[f"{number}/{protocol}"] = {}
    config["ExposedPorts"] = ports


def _volume(config: dict[str, Any], rest: str) -> None:
    exact = _array(rest)
    places = exact if exact is not None else rest.split()
    config["Volumes"] = {**(config.get("Volumes") or {}), **{place: {} for place in places}}


def _workdir(config: dict[str, Any], rest: str) -> None:
    import posixpath

    place = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", rest))
    config["WorkingDir"] = "/" + place.lstrip("/")


def _user(config: dict[str, Any], rest: str) -> None:
    config["User"] = rest


def _stopsignal(config: dict[str, Any], rest: str) -> None:
    config["StopSignal"] = rest


def _onbuild(config: dict[str, Any], rest: str) -> None:
    if rest.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidInput(f"ONBUILD can't hold {rest.split()[0].upper()}")
    config["OnBuild"] = [*(config.get("OnBuild") or []), rest]


def duration(text: str) -> int:
    """A duration such as 1m30s or 250ms, in nanoseconds. Raises InvalidInput."""
    total, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        unit = unit if unit in NANOSECONDS else unit[:1]
        if not number.strip(".") or number.count(".") > 1 or unit not in NANOSECONDS:
            raise InvalidInput(f"{text!r} is not a duration", hint="write it as 30s, 1m30s or 500ms")
        total += float(number) * NANOSECONDS[unit]
        rest = rest[len(unit) :]
    return int(total)


def _healthcheck(config: dict[str, Any], rest: str) -> None:
    health: dict[str, Any] = {}
    keys = {
        "--interval": "Interval",
        "--timeout": "Timeout",
        "--start-period": "StartPeriod",
        "--start-interval": "StartInterval",
    }
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        name, _, value = option.partition("=")
        rest = rest.strip()
        if name == "--retries" and value.isdecimal():
            health["Retries"] = int(value)
        elif name in keys:
            health[keys[name]] = duration(value)
        else:
            raise InvalidInput(f"HEALTHCHECK has the unknown option {option!r}")
    word, _, command = rest.partition(" ")
    if word.upper() == "NONE" and not command and not health:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if word.upper() != "CMD" or not command.strip():
        raise InvalidInput("HEALTHCHECK needs CMD and a command, or NONE")
    exact = _array(command.strip())
    health["Test"] = ["CMD", *exact] if exact is not None else ["CMD-SHELL", command.strip()]
    config["Healthcheck"] = health


_INSTRUCTIONS = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
