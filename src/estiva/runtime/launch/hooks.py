"""A bundle's hooks: runtime-spec config.md, "POSIX-platform Hooks".

    kind              runs in                    when
    prestart          the runtime's namespaces   create, the mounts stand, before pivot_root
    createRuntime     the runtime's namespaces   right after those
    createContainer   the container's, host root right after those, by init
    startContainer    the container's            start, right before the command, by init
    poststart         the runtime's namespaces   start, the command runs
    poststop          the runtime's namespaces   delete, nothing is left

Each gets the container's state on stdin and exactly the environment that the config gives it. Without `env`
it gets that of the runtime, and for startContainer the command's, as with runc and crun. The working
directory is the bundle, and for createContainer the container's root. The runtime is held up until a hook
ends: one that outlives its timeout is killed.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.errors import EngineError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_CREATE = ("prestart", "createRuntime", "createContainer")


class Hooks:
    """The hooks of a config and the state that they are given. Raises InvalidInput with the field's path.

    `state` lacks pid and status until they are known: `run` puts them in.
    """

    def __init__(self, hooks: dict[str, Any] | None, state: dict[str, Any]) -> None:
        if hooks is not None and not isinstance(hooks, dict):
            raise InvalidInput("hooks is not an object")
        self.state = state
        self.place = ""  # where they find the root filesystem, if not at the path of a bundle's
        self.lists: dict[str, list[dict[str, Any]]] = {}
        for kind in KINDS:
            entries = (hooks or {}).get(kind)
            if entries:
                self.lists[kind] = _checked(entries, f"hooks.{kind}")
        if self.lists:
            from estiva.runtime.launch import run_hook  # noqa: F401  (now: init may import nothing later)

    def __bool__(self) -> bool:
        return bool(self.lists)

    def has(self, *kinds: str) -> bool:
        return any(kind in self.lists for kind in kinds)

    @property
    def while_created(self) -> bool:
        """Whether init must stop before pivot_root for some."""
        return self.has(*_CREATE)

    def run(
        self,
        kind: str,
        pid: int,
        status: str,
        *,
        directory: str = "",
        env: dict[bytes, bytes] | None = None,
        confine: Callable[[], None] | None = None,
    ) -> None:
        """Run those of one kind in order, in `directory` or the bundle, with `env` where the config has none.

        `confine` is called in the hook's process before it executes a file of the container. Raises
        EngineError at the first that fails.
        """
        from estiva.runtime.launch import run_hook

        where = directory or self.state.get("bundle", "/")
        for index, entry in enumerate(self.lists.get(kind, [])):
            run_hook.run(entry, self._input(pid, status), _name(kind, index), where, env, confine)

    def run_all(self, kind: str, pid: int, status: str) -> list[str]:
        """Run all of one kind whatever becomes of them: what went wrong, as the spec has it logged."""
        from estiva.runtime.launch import run_hook

        warnings = []
        where = self.state.get("bundle", "/")
        for index, entry in enumerate(self.lists.get(kind, [])):
            try:
                run_hook.run(entry, self._input(pid, status), _name(kind, index), where)
            except EngineError as error:
                warnings.append(error.message)
        return warnings

    def _input(self, pid: int, status: str) -> bytes:
        state = dict(self.state)
        state["status"] = status
        if pid:
            state["pid"] = pid
        return fastjson.dumps(state).encode("utf-8", "surrogateescape")


def _name(kind: str, index: int) -> str:
    """How an error begins, in runc's words."""
    return f"error running {kind} hook #{index}"


def _checked(entries: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise InvalidInput(f"{where} is not a list")
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        if not isinstance(entry, dict):
            raise InvalidInput(f"{here} is not an object")
        path = entry.get("path")
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise InvalidInput(f"{here}.path is not an absolute path")
        for field in ("args", "env"):
            words = entry.get(field)
            if words is not None and not (
                isinstance(words, list) and all(isinstance(w, str) and "\0" not in w for w in words)
            ):
                raise InvalidInput(f"{here}.{field} is not a list of strings")
        timeout = entry.get("timeout")
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0
        ):
            raise InvalidInput(f"{here}.timeout is not a whole number of seconds above zero")
    return entries
