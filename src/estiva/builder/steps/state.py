"""The state of a stage between two instructions: its layers, the image's config so far, and its variables."""

from __future__ import annotations

import posixpath

from estiva.builder.cache.remote import FIELD as CACHE
from estiva.builder.frontend.variables import Budget, Expander
from estiva.builder.steps.written import Fetched, diff_ids
from estiva.oci import config as configs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.builder.frontend.instructions import Command, Typed
    from estiva.builder.steps.written import Layer
    from estiva.oci.platform import Platform


COMMENT = "estiva.build"
DEFAULT_SHELL = ["/bin/sh", "-c"]


class State:
    """Layers (base first), the image config so far, and the ARGs in scope (None: without a value).

    `layers` are those of the config, which has them once it is `finished`.

    What is in the config is shared with the base and with other stages: a value is replaced, never changed.
    """

    def __init__(
        self,
        document: dict[str, Any],
        *,
        clock: Callable[[], str],
        budget: Budget | None = None,
        path: bool = True,
    ) -> None:
        """`path`: the default PATH where the config says none, which is what a build begins with."""
        self.document = {
            **document,
            "config": dict(document.get("config") or {}),
            "rootfs": dict(document.get("rootfs") or configs.new("")["rootfs"]),
            "history": list(document.get("history") or []),
        }
        self.document.pop(CACHE, None)  # the base's own
        self.layers: list[Layer] = list(self.document["rootfs"]["diff_ids"])
        if path:
            self.config["Env"] = with_path(self.config.get("Env") or [])
        self.clock = clock
        self.budget = budget or Budget()
        self.args: dict[str, str | None] = {}
        self.over: set[str] = set()  # the ARGs that got their value after the ENV of their name
        self.inherited = len(self.document["history"])
        self.has_cmd = False
        self.base = len(self.layers)
        self.made: list[str] = []  # the lines of history of the layers above `base`
        self.definition: list[str] | None = None  # see solver/definition.py
        self._parsed: tuple[list[str], dict[str, str]] = ([], {})  # Env, and as what it was read

    @classmethod
    def scratch(cls, platform: Platform, clock: Callable[[], str], budget: Budget) -> State:
        document = configs.new(platform.architecture, platform.os, platform.written().get("variant", ""))
        document["config"] = {"Env": [f"PATH={configs.DEFAULT_PATH}"], "WorkingDir": "/"}
        return cls(document, clock=clock, budget=budget)

    def child(self) -> State:
        """The state that `FROM this-stage` begins with: its files, config and ARGs."""
        state = State(self.document, clock=self.clock, budget=self.budget)
        state.layers, state.base, state.made = list(self.layers), self.base, list(self.made)
        state.args = dict(self.args)
        state.over = set(self.over)
        state.inherited = self.inherited
        state.definition = None if self.definition is None else list(self.definition)
        return state

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.document["config"]
        return config

    @property
    def platform(self) -> dict[str, str]:
        return {
            key: self.document[key] for key in ("architecture", "os", "variant") if self.document.get(key)
        }

    @property
    def env(self) -> dict[str, str]:
        """The image's ENV."""
        listed = self.config.get("Env") or []
        if self._parsed[0] is not listed:
            pairs = (item.partition("=") for item in listed)
            self._parsed = listed, {name: value for name, _, value in pairs}
        return dict(self._parsed[1])

    @property
    def variables(self) -> dict[str, str]:
        """What expansion and RUN see: ARGs that have a value and ENV, of one name what came last."""
        args = {name: value for name, value in self.args.items() if value is not None}
        return args | self.env | {name: args[name] for name in self.over}

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

    def finished(self) -> dict[str, Any]:
        """The config, once all its layers are here. Raises what kept one from that."""
        for layer in self.layers:
            if isinstance(layer, Fetched):
                layer.arrive()
        self.document["rootfs"]["diff_ids"] = diff_ids(self.layers)
        return self.document

    def record(self, created_by: str, *, created: str = "", layer: Layer = "") -> None:
        """One step of history; with a layer, that too. Raises InvalidInput when a build's get too long."""
        self.budget.spend(len(created_by))
        created = created or self.clock()
        step: dict[str, Any] = {"created": created, "created_by": created_by, "comment": COMMENT}
        if layer:
            self.layers.append(layer)
            self.made.append(created_by)
        else:
            step["empty_layer"] = True
        self.document["history"].append(step)
        self.document["created"] = created

    def touch(self) -> None:
        """The image is changed by what is no step of history."""
        self.document["created"] = self.clock()

    def command(self, typed: Command) -> list[str]:
        """The argv of RUN, CMD or ENTRYPOINT."""
        return typed.argv if typed.argv is not None else [*self.shell, typed.shell]


def with_path(env: list[str]) -> list[str]:
    """An image's Env, with the default PATH where its base says none: as docker has it."""
    if any(item.startswith("PATH=") for item in env):
        return env
    return [*env, f"PATH={configs.DEFAULT_PATH}"]


def expander(state: State, typed: Typed) -> Expander:
    """An expander over the variables as they are before the instruction."""
    return Expander(state.variables, typed.source.escape, state.budget)
