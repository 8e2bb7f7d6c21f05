"""The state of a stage between two instructions, and the instructions that change only the image's config."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from estiva.builder.frontend import values
from estiva.builder.frontend.errors import bad
from estiva.builder.frontend.instructions import Command, Healthcheck, Pairs, Text, Typed, Words
from estiva.builder.frontend.variables import Expander
from estiva.oci import config as configs
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from estiva.store.images import Image

COMMENT = "estiva.build"
DEFAULT_SHELL = ["/bin/sh", "-c"]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class State:
    """Layers (base first), the image config so far, and the ARGs in scope (None: without a value)."""

    def __init__(self, document: dict[str, Any], *, clock: Callable[[], str]) -> None:
        self.document = document
        self.clock = clock
        self.args: dict[str, str | None] = {}
        self.inherited = len(document.get("history") or [])
        self.has_cmd = False

    @classmethod
    def scratch(cls, platform: Platform, clock: Callable[[], str]) -> State:
        document = configs.new(platform.architecture, platform.os, platform.variant)
        document["config"] = {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}
        return cls(document, clock=clock)

    @classmethod
    def of(cls, image: Image, clock: Callable[[], str]) -> State:
        document = copy.deepcopy(image.config)
        document["config"] = document.get("config") or {}
        document["history"] = document.get("history") or []
        return cls(document, clock=clock)

    def child(self) -> State:
        """The state that `FROM this-stage` begins with: its files, config and ARGs."""
        state = State(copy.deepcopy(self.document), clock=self.clock)
        state.args = dict(self.args)
        state.inherited = self.inherited
        return state

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.document["config"]
        return config

    @property
    def diff_ids(self) -> list[str]:
        return list(self.document["rootfs"]["diff_ids"])

    @property
    def platform(self) -> dict[str, str]:
        return {
            key: self.document[key] for key in ("architecture", "os", "variant") if self.document.get(key)
        }

    @property
    def env(self) -> dict[str, str]:
        """The image's ENV."""
        pairs = (item.partition("=") for item in self.config.get("Env") or [])
        return {name: value for name, _, value in pairs}

    @property
    def variables(self) -> dict[str, str]:
        """What expansion sees: ARGs that have a value, and over them ENV."""
        return {name: value for name, value in self.args.items() if value is not None} | self.env

    @property
    def workdir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    @property
    def shell(self) -> list[str]:
        return list(self.config.get("Shell") or DEFAULT_SHELL)

    def absolute(self, path: str) -> str:
        """`path` from the working directory, cleaned; it ends in a slash if it says a directory."""
        joined = posixpath.join(self.workdir, path)
        cleaned = "/" + posixpath.normpath("/" + joined).lstrip("/")
        directory = path in ("", ".") or path.endswith(("/", "/.", "/.."))
        return cleaned + "/" if directory and cleaned != "/" else cleaned

    def record(self, created_by: str, *, created: str = "", diff_id: str = "") -> None:
        """One step of history; with a layer, that too."""
        created = created or self.clock()
        step: dict[str, Any] = {"created": created, "created_by": created_by, "comment": COMMENT}
        if diff_id:
            self.document["rootfs"]["diff_ids"].append(diff_id)
        else:
            step["empty_layer"] = True
        self.document["history"].append(step)
        self.document["created"] = created

    def command(self, typed: Command) -> list[str]:
        """The argv of RUN, CMD or ENTRYPOINT."""
        return typed.argv if typed.argv is not None else [*self.shell, typed.shell]


def expander(state: State, typed: Typed) -> Expander:
    """An expander over the variables as they are before the instruction."""
    return Expander(state.variables, typed.source.escape)


def apply(state: State, typed: Typed) -> None:
    """Apply an instruction that only changes the config. Raises InvalidInput."""
    _APPLY[typed.name](state, typed, expander(state, typed))


def declare(state: State, typed: Pairs, given: dict[str, str], global_args: dict[str, str]) -> None:
    """ARG: the value given to the build, else the default, else the global ARG's."""
    words = []
    for name, default in typed.pairs:
        name = Expander(state.variables, typed.source.escape).word(name)
        value: str | None
        if name in given:
            value = given[name]
        elif default is not None:
            value = Expander(state.variables, typed.source.escape).word(default)
        else:
            value = global_args.get(name)
        state.args[name] = value
        words.append(name if value is None else f"{name}={value}")
    state.record("ARG " + " ".join(words))


def _env(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Pairs)
    new = [(expand.word(name), expand.word(value or "")) for name, value in typed.pairs]
    env = state.env
    env.update(new)
    if "" in env:
        raise bad(typed.source, "ENV names can't be blank")
    state.config["Env"] = [f"{name}={value}" for name, value in env.items()]
    state.record("ENV " + " ".join(f"{name}={value}" for name, value in new))


def _label(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Pairs)
    new = [(expand.word(name), expand.word(value or "")) for name, value in typed.pairs]
    state.config["Labels"] = {**(state.config.get("Labels") or {}), **dict(new)}
    state.record("LABEL " + " ".join(f"{name}={value}" for name, value in new))


def _maintainer(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Text)
    state.document["author"] = typed.text
    state.record(f"MAINTAINER {typed.text}")


def _cmd(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Command)
    argv = state.command(typed) if typed.argv is not None or typed.shell else []
    state.config["Cmd"] = argv
    state.has_cmd = True
    state.record("CMD " + quoted(argv))


def _entrypoint(state: State, typed: Typed, expand: Expander) -> None:
    """A new ENTRYPOINT makes the base's CMD meaningless: it goes, unless this stage set one."""
    assert isinstance(typed, Command)
    argv = state.command(typed) if typed.argv is not None or typed.shell else []
    if argv:
        state.config["Entrypoint"] = argv
    else:
        state.config.pop("Entrypoint", None)
    if not state.has_cmd:
        state.config.pop("Cmd", None)
    state.record("ENTRYPOINT " + quoted(argv))


def _expose(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Words)
    ports: list[str] = []
    for word in typed.words:
        for port in expand.words(word):
            ports += values.ports(port)
    state.config["ExposedPorts"] = {
        **(state.config.get("ExposedPorts") or {}),
        **{port: {} for port in ports},
    }
    state.record("EXPOSE " + listed(ports))


def _volume(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Words)
    places = [expand.word(word) for word in typed.words]
    if not all(place.strip() for place in places):
        raise bad(typed.source, "a VOLUME can't be an empty string")
    state.config["Volumes"] = {**(state.config.get("Volumes") or {}), **{place: {} for place in places}}
    state.record("VOLUME " + listed(places))


def _user(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Text)
    state.config["User"] = expand.word(typed.text)
    state.record(f"USER {state.config['User']}")


def _stopsignal(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Text)
    text = expand.word(typed.text)
    values.signal_number(text)
    state.config["StopSignal"] = text
    state.record(f"STOPSIGNAL {text}")


def _shell(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Words)
    state.config["Shell"] = typed.words
    state.record("SHELL " + listed(typed.words))


def _onbuild(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Text)
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or []), typed.text]
    state.document["created"] = state.clock()  # no step of its own in history, as docker has it


def _healthcheck(state: State, typed: Typed, expand: Expander) -> None:
    assert isinstance(typed, Healthcheck)
    state.config["Healthcheck"] = typed.config
    parts = []
    for name, value in typed.config.items():
        if isinstance(value, list):
            shown = listed(value)
        else:
            shown = values.show(int(str(value))) if name != "Retries" else str(value)
        parts.append(f"{name}:{shown}")
    state.record("HEALTHCHECK {" + " ".join(parts) + "}")


def quoted(words: list[str]) -> str:
    """Words as history shows an argv: `["a" "b"]`."""
    import json

    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def listed(words: list[str]) -> str:
    """Words as history shows a list: `[a b]`."""
    return "[" + " ".join(words) + "]"


_APPLY: dict[str, Callable[[State, Typed, Expander], None]] = {
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
