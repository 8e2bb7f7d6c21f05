"""The RUN step: its command line, environment, network and cache key."""

from __future__ import annotations

import posixpath

from estiva.builder.frontend.errors import BuildFailed, bad, located, shorten, unsupported
from estiva.builder.frontend.instructions import Command
from estiva.builder.frontend.parser import heredoc_of
from estiva.builder.request import HOSTNAME, NETWORKS, Step
from estiva.builder.steps.context import with_root
from estiva.builder.steps.state import expander
from estiva.errors import EstivaError
from estiva.oci.config import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.request import Request
    from estiva.builder.steps.context import Keys, StepContext
    from estiva.builder.steps.mounts import Mounts
    from estiva.builder.steps.state import State
    from estiva.store.snapshots import Snapshot

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def refuse_wider(typed: Typed, request: Request) -> None:
    """Raise DockerfileError for an instruction that asks for more than the caller allows (K23)."""
    if not isinstance(typed, Command):
        return
    for flag, asked, entitlement in (
        ("--network=host", typed.network == "host", "network.host"),
        ("--security=insecure", typed.security == "insecure", "security.insecure"),
    ):
        if asked and entitlement not in request.allow:
            raise bad(typed.source, f"RUN {flag} is not allowed", f"allow it with: --allow {entitlement}")
    _devices(typed, request)


def _devices(typed: Command, request: Request) -> tuple[list[str], list[str]]:
    """(the devices that it gets, those that are not here and may be absent). Raises DockerfileError."""
    if not typed.devices:
        return [], []
    if request.devices is None:
        raise unsupported(typed.source, "RUN --device is not supported here")
    try:
        return request.devices(typed.devices)
    except EstivaError as error:
        raise located(error, typed.source) from None


class CommandStep:
    """One RUN."""

    def __init__(self, context: StepContext, state: State, typed: Command) -> None:
        self.context = context
        self.state = state
        self.typed = typed
        self.script = ""
        self._mounts: Mounts | None = None
        if typed.mounts:
            self._mounts = self.mounts  # which raises for what is wrong in them
        self.argv = self._argv()
        self.env = {"PATH": DEFAULT_PATH} | state.variables
        self.network = self._network()
        self.hostname = context.request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or HOSTNAME
        self.changed = ""  # what the command read and the key does not tell
        refuse_wider(typed, context.request)
        self.devices, self.absent = _devices(typed, context.request)

    @property
    def mounts(self) -> Mounts:
        """Those of the instruction, and what else the command is shown: made for those, or when it runs."""
        if self._mounts is None:
            from estiva.builder.steps.mounts import Mounts

            expand = expander(self.state, self.typed)
            self._mounts = Mounts(self.context, self.typed, expand, self.state.workdir)
        return self._mounts

    def _network(self) -> str:
        """The network that the instruction asks for, else the build's. That is as far as it can get where the
        build has none, or one with a name, which may be an internal one (K23)."""
        asked, given = self.typed.network, self.context.request.network
        if asked == "default" and given not in NETWORKS:
            return given
        return given if given == "none" or not asked else asked

    def _argv(self) -> list[str]:
        """The command; a lone here-document is the script, run by its own interpreter if it names one."""
        typed = self.typed
        documents = typed.source.heredocs
        if not documents:
            return self.state.command(typed)
        if heredoc_of(typed.shell.strip()) is not None:
            if documents[0].text.startswith("#!"):
                self.script = documents[0].text
                from estiva.builder.steps.mounts import SCRIPTS

                return [*self.state.shell, f"{SCRIPTS}/{posixpath.basename(documents[0].name)}"]
            return [*self.state.shell, documents[0].text]
        text = typed.shell + "".join(f"\n{document.content}{document.name}" for document in documents)
        return [*self.state.shell, text]

    def run(self) -> bool:
        """Run the command, or find its layer in the cache: whether it was cached."""
        args = [f"{name}={self.state.variables.get(name, '')}" for name in self.state.args]
        prefix = f"|{len(args)} " + " ".join(args) + " " if args else ""
        created_by = f"RUN {prefix}{' '.join(self.argv)} # buildkit"
        if self.typed.mounts:
            self.context.busy()
            self.mounts.find()
        if self.context.reuse(self.state, self._keys(), created_by):
            return True
        self.context.ahead(self.network)
        for name in self.absent:
            place = f"{self.typed.source.file}:{self.typed.source.line}"
            self.context.warn(f"{place}: the device {name} is not here: RUN goes on without it")
        with self.context.snapshot(self.state.layers) as (snapshot, stand):
            self.context.explain(self.state, self._told)
            self._execute(snapshot)
            keys = (lambda below: []) if self.changed else self._keys()
            told, met = self._told, self.mounts.met
            self.context.keep(self.state, snapshot, stand, keys, created_by, told, apart=met)
        if self.changed:
            source = self.typed.source
            self.context.warn(f"{source.file}:{source.line}: {self.changed}: not cached")
        return False

    def _keys(self) -> Keys:
        """The keys, of what the mounts show now."""
        inputs = {**self._inputs(), "env": self.env}
        key = self.context.key

        def keys(below: list[str]) -> Iterator[str]:
            defined = self.mounts.defined() if self.typed.mounts else None
            if defined is not None:
                yield key("defined-run", {**inputs, "below": below, "mounts": defined})
            for each in self._shown():
                yield key("run", {**inputs, "below": below, "mounts": each})

        return keys

    def _shown(self) -> Iterable[list[list[Any]]]:
        return self.mounts.shown() if self.typed.mounts else [[]]

    def _told(self) -> dict[str, Any]:
        """What it is made of, for cache/inputs.py."""
        return {**self._inputs(), "env": self.env, "mounts": list(self._shown())[-1:]}

    def _inputs(self) -> dict[str, Any]:
        return {
            "argv": self.argv,
            "script": self.script,
            "cwd": self.state.workdir,
            "user": self.state.config.get("User") or "",
            "network": self.network,
            "security": self.typed.security,
            "hostname": self.hostname,
            "devices": self.devices,
            "platform": self.state.platform,
        }

    def _execute(self, snapshot: Snapshot) -> None:
        from estiva.builder.steps.mountpoints import Stubs

        context, state, mounts = self.context, self.state, self.mounts
        given = context.request.build_args
        try:
            env = _proxies(given, self.env)
            mounts.make(env, (posixpath.basename(self.argv[-1]), self.script) if self.script else None)
            stubs = Stubs([str(mount["destination"]) for mount in mounts.planned])
            with_root(snapshot, stubs.before)
            step = Step(
                snapshot,
                self.argv,
                [f"{name}={value}" for name, value in env.items()],
                state.workdir,
                str(state.config.get("User") or ""),
                mounts.planned,
                mounts.mounted,
                self.network,
                context.output,
                context.look,
                self.typed.security == "insecure",
                self.hostname,
                mounts.agents,
                self.devices,
                state.shell[0],
                self._title(),
            )
            status = context.run_step(step)
            if status:
                raise self._failed(status)
            self.changed = mounts.changed()
            with_root(snapshot, stubs.after)
        finally:
            mounts.close()

    def _title(self) -> str:
        source = self.typed.source
        return f"{source.file}:{source.line}: {shorten(source.original)}"

    def _failed(self, status: int) -> BuildFailed:
        from estiva.builder.steps import statuses

        source, words = self.typed.source, statuses.meaning(status)
        about: dict[str, Any] = {
            "line": source.line,
            "text": source.original,
            "status": status,
            "argv": self.argv,
        }
        title, hint = self._title(), statuses.hint(status)
        if words:
            return BuildFailed(f"{title}: exit status {status} ({words})", hint=hint, **about)
        return BuildFailed(f"{title}: exit status {status}", hint=hint, **about)


def _proxies(given: dict[str, str], env: dict[str, str]) -> dict[str, str]:
    """`env` with the build's proxies, each in capitals and not: programs look for the one or the other."""
    told: dict[str, str] = {}
    for upper in PROXIES:
        for name, other in ((upper, upper.lower()), (upper.lower(), upper)):
            if name in given:
                told[name] = given[name]
            elif other in given and name not in env:
                told[name] = given[other]
    return env | told
