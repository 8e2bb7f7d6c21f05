"""The instructions that change only the image's config."""

from __future__ import annotations

import posixpath

from estiva import fastjson
from estiva.builder.frontend import values
from estiva.builder.frontend.errors import bad
from estiva.builder.frontend.instructions import Command, Healthcheck, Pairs, Text, Words
from estiva.builder.frontend.variables import Expander
from estiva.builder.steps.state import expander
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.steps.state import State


MOST = 10_000  # variables or labels of an image
MOST_VOLUMES = 1000  # each of which is a folder for every container
MOST_PORTS = 3 * 65536  # all that there are


def apply(state: State, typed: Typed) -> str:
    """Apply an instruction to the config; its line of history, "" for one without. Raises InvalidInput."""
    return _APPLY[typed.name](state, typed, expander(state, typed))


def workdir(state: State, typed: Text) -> str:
    """WORKDIR's part in the config: the new working directory, with the slash that an absolute one
    may end in. Its directory is made by steps/workdir.py.
    """
    word = expander(state, typed).word(typed.text)
    path = posixpath.normpath(state.absolute(word))
    slash = "/" if word.startswith("/") and word.endswith("/") and path != "/" else ""
    state.config["WorkingDir"] = path + slash
    return path


def declare(state: State, typed: Pairs, given: dict[str, str], global_args: dict[str, str]) -> str:
    """ARG: the value given to the build, else the default, else the global ARG's. Its line of history.

    As with docker, a value also counts over that of an ENV above, and without one an ARG changes nothing.
    """
    words = []
    env, variables = state.env, state.variables
    expand = Expander(
        variables, typed.source.escape, state.budget
    )  # of what the words before it have set, too
    for name, default in typed.pairs:
        name = expand.word(name)
        value: str | None
        if name in given:
            value = given[name]
        elif default is not None:
            value = expand.word(default)
        else:
            value = global_args.get(name)
        state.budget.spend(len(value or ""))
        if value is None:
            state.args.setdefault(name, None)
        else:
            state.args[name] = variables[name] = value
            if name in env:
                state.over.add(name)
        words.append(name if value is None else f"{name}={value}")
    _bounded("ARGs", state.args)
    return "ARG " + " ".join(words)


def _env(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Pairs)
    new = [(expand.word(name), expand.word(value or "")) for name, value in typed.pairs]
    env = state.env
    env.update(new)
    state.over.difference_update(dict(new))
    _bounded("variables", env)
    if "" in env:
        raise bad(typed.source, "ENV names can't be blank")
    state.config["Env"] = [f"{name}={value}" for name, value in env.items()]
    return "ENV " + " ".join(f"{name}={value}" for name, value in new)


def _label(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Pairs)
    new = [(expand.word(name), expand.word(value or "")) for name, value in typed.pairs]
    state.config["Labels"] = _bounded("labels", {**(state.config.get("Labels") or {}), **dict(new)})
    return "LABEL " + " ".join(f"{name}={value}" for name, value in new)


def _maintainer(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Text)
    state.document["author"] = typed.text
    return f"MAINTAINER {typed.text}"


def _cmd(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Command)
    argv = state.command(typed)
    state.config["Cmd"] = argv
    state.config["ArgsEscaped"] = True  # of no meaning on Linux: BuildKit's configs have it
    state.has_cmd = True
    return "CMD " + quoted(argv)


def _entrypoint(state: State, typed: Typed, expand: Expander) -> str:
    """A new ENTRYPOINT makes the base's CMD meaningless: it goes, unless this stage set one."""
    assert isinstance(typed, Command)
    argv = state.command(typed)
    if argv:
        state.config["Entrypoint"] = argv
    else:
        state.config.pop("Entrypoint", None)
    if not state.has_cmd:
        state.config.pop("Cmd", None)
    return "ENTRYPOINT " + quoted(argv)


def _expose(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Words)
    ports: list[str] = []
    for word in sorted(typed.words):  # as BuildKit has them in the history
        for port in expand.words(word):
            ports += values.ports(port)
            if len(ports) > MOST_PORTS:
                raise bad(typed.source, f"EXPOSE has more than {MOST_PORTS} ports")
    state.config["ExposedPorts"] = {
        **(state.config.get("ExposedPorts") or {}),
        **{port: {} for port in ports},
    }
    return "EXPOSE " + listed(ports)


def _volume(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Words)
    places = [expand.word(word) for word in typed.words]
    if not all(place.strip() for place in places):
        raise bad(typed.source, "a VOLUME can't be an empty string")
    volumes = {**(state.config.get("Volumes") or {}), **{place: {} for place in places}}
    state.config["Volumes"] = _bounded("VOLUMEs", volumes, MOST_VOLUMES)
    return "VOLUME " + listed(places)


def _user(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Text)
    state.config["User"] = expand.word(typed.text)
    return f"USER {state.config['User']}"


def _stopsignal(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Text)
    text = expand.word(typed.text)
    values.signal_number(text)
    state.config["StopSignal"] = text
    return f"STOPSIGNAL {text}"


def _shell(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Words)
    state.config["Shell"] = typed.words
    return "SHELL " + listed(typed.words)


def _onbuild(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Text)
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or []), typed.text]
    return ""  # no step of its own in history, as docker has it


def _healthcheck(state: State, typed: Typed, expand: Expander) -> str:
    assert isinstance(typed, Healthcheck)
    state.config["Healthcheck"] = typed.config
    test = typed.config.get("Test")
    times = [int(str(typed.config.get(name) or 0)) for name in _TIMES]
    parts = [quoted(list(test) if isinstance(test, list) else [])]
    parts += [f'"{values.show(time)}"' for time in times]
    return "HEALTHCHECK &{" + " ".join([*parts, _rune(int(str(typed.config.get("Retries") or 0)))]) + "}"


_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 39: "'", 92: "\\"}


def _rune(number: int) -> str:
    """How BuildKit's history has a number of retries: as the character of that number, as Go quotes it."""
    number = number if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else 0xFFFD
    if number in _ESCAPES:
        return f"'\\{_ESCAPES[number]}'"
    if chr(number).isprintable():
        return f"'{chr(number)}'"
    return f"'\\x{number:02x}'" if number < 0x80 else f"'\\u{number:04x}'"


def _bounded(what: str, values: dict[str, Any], most: int = MOST) -> dict[str, Any]:
    """`values`, if they are not too many: each instruction copies them."""
    if len(values) > most:
        raise InvalidInput(f"an image can't have more than {most} {what}")
    return values


def quoted(words: list[str]) -> str:
    """Words as history shows an argv: `["a" "b"]`."""
    return "[" + " ".join(map(fastjson.text, words)) + "]"


def listed(words: list[str]) -> str:
    """Words as history shows a list: `[a b]`."""
    return "[" + " ".join(words) + "]"


_APPLY: dict[str, Callable[[State, Typed, Expander], str]] = {
    "ENV": _env,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "USER": _user,
    "STOPSIGNAL": _stopsignal,
    "SHELL": _shell,
    "ONBUILD": _onbuild,
    "HEALTHCHECK": _healthcheck,
}
