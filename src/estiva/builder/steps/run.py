"""The RUN step: its command line, environment, mounts and cache key, and what its mount points leave behind.

A secret reaches the command only: as a file bound from the build's scratch directory, or as a variable of
that one command. It is in no layer, no history and no cache key (K14). What a bind mount lets the command
write is thrown away.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import Any

from estiva.builder.files.copier import Copier, Destination
from estiva.builder.files.tree import Missing, Tree
from estiva.builder.frontend import run_mounts
from estiva.builder.frontend.errors import BuildFailed, bad, shorten, unsupported
from estiva.builder.frontend.instructions import Command
from estiva.builder.frontend.parser import heredoc_of
from estiva.builder.request import Step
from estiva.builder.steps.context import StepContext, with_root
from estiva.builder.steps.mountpoints import Stubs
from estiva.builder.steps.state import State, expander
from estiva.errors import NotFound, reason
from estiva.oci.config import DEFAULT_PATH

PROXIES = tuple(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
DOCUMENTS = "/dev/pipes"  # where a here-document with its own interpreter line is run from
HINTS = {
    126: "the command can't be executed: is it executable, and for this platform?",
    127: "the command is not in the image's filesystem",
    137: "the command was killed (SIGKILL): perhaps it ran out of memory",
}


class CommandStep:
    """One RUN."""

    def __init__(self, context: StepContext, state: State, typed: Command) -> None:
        self.context = context
        self.state = state
        self.typed = typed
        self.script = ""
        expand = expander(state, typed)
        self.mounts = [run_mounts.parse(text, expand, state.workdir) for text in typed.mounts]
        self.argv = self._argv()
        self.env = {"PATH": DEFAULT_PATH} | state.variables
        self.network = self._network()
        if typed.security == "insecure":
            self._allowed("--security=insecure", "security.insecure")

    def _network(self) -> str:
        """The network that the instruction asks for, else the build's; none if the build has none (K23)."""
        asked, given = self.typed.network, self.context.request.network
        if asked == "host":
            self._allowed("--network=host", "network.host")
        return given if given == "none" or not asked else asked

    def _allowed(self, flag: str, entitlement: str) -> None:
        if entitlement not in self.context.request.allow:
            message, hint = f"RUN {flag} is not allowed", f"allow it with: --allow {entitlement}"
            raise bad(self.typed.source, message, hint)

    def _argv(self) -> list[str]:
        """The command; a lone here-document is the script, run by its own interpreter if it names one."""
        typed = self.typed
        documents = typed.source.heredocs
        if not documents:
            return self.state.command(typed)
        if heredoc_of(typed.shell.strip()) is not None:
            if documents[0].text.startswith("#!"):
                self.script = documents[0].text
                return [f"{DOCUMENTS}/{posixpath.basename(documents[0].name)}"]
            return [*self.state.shell, documents[0].text]
        text = typed.shell + "".join(f"\n{document.content}{document.name}" for document in documents)
        return [*self.state.shell, text]

    def run(self) -> bool:
        """Run the command, or find its layer in the cache: whether it was cached."""
        args = [f"{name}={self.state.variables.get(name, '')}" for name in self.state.args]
        prefix = f"|{len(args)} " + " ".join(args) + " " if args else ""
        created_by = f"RUN {prefix}{' '.join(self.argv)} # buildkit"
        keys = [self.context.key("run", self._inputs())]
        if self.context.reuse(self.state, keys, created_by):
            return True
        self.context.keep(self.state, keys, created_by, self._layer())
        return False

    def _inputs(self) -> dict[str, Any]:
        return {
            "below": self.state.diff_ids,
            "argv": self.argv,
            "script": self.script,
            "env": self.env,
            "cwd": self.state.workdir,
            "user": self.state.config.get("User") or "",
            "network": self.network,
            "security": self.typed.security,
            "mounts": [self._mount_inputs(mount) for mount in self.mounts],
            "platform": self.state.platform,
        }

    def _mount_inputs(self, mount: run_mounts.Mount) -> list[Any]:
        """What of a mount changes the result: for a bind its content, never a secret's or a cache's."""
        inputs: list[Any] = [mount.kind, mount.target, mount.writable, mount.id, mount.env, mount.size]
        if mount.kind == "bind":
            source = self.context.source(mount.from_)
            content = source.layers
            if content is None:
                content = [source.tree.digest(self._resolve(source.tree, mount))]
            inputs += [mount.source, content]
        return inputs

    def _resolve(self, tree: Tree, mount: run_mounts.Mount) -> str:
        try:
            return tree.resolve(mount.source)
        except Missing:
            where = mount.from_ or "the build context"
            raise bad(self.typed.source, f"no {mount.source} in {where} to mount") from None

    def _layer(self) -> str:
        context, state = self.context, self.state
        given = context.request.build_args
        snapshot = context.store.snapshots.prepare(state.diff_ids)
        try:
            env = self.env | {name: given[name] for name in PROXIES if name in given}
            planned = [mount for each in self.mounts for mount in self._planned(each, env)]
            if self.script:
                planned.append(self._script_mount())
            stubs = Stubs([str(mount["destination"]) for mount in planned])
            with_root(snapshot, stubs.before)
            step = Step(
                snapshot,
                self.argv,
                [f"{name}={value}" for name, value in env.items()],
                state.workdir,
                str(state.config.get("User") or ""),
                planned,
                self.network,
                context.output,
                self.typed.security == "insecure",
            )
            status = context.run_step(step)
            if status:
                raise self._failed(status)
            with_root(snapshot, stubs.after)
            return context.commit(snapshot)
        finally:
            context.workspace.release()
            snapshot.discard()

    def _failed(self, status: int) -> BuildFailed:
        source = self.typed.source
        return BuildFailed(
            f"{source.file}:{source.line}: {shorten(source.original)}: exit status {status}",
            line=source.line,
            text=source.original,
            status=status,
            hint=HINTS.get(status, ""),
        )

    def _planned(self, mount: run_mounts.Mount, env: dict[str, str]) -> list[dict[str, Any]]:
        """A mount as the OCI runtime spec has it; a secret that goes to the environment makes none."""
        if mount.kind == "tmpfs":
            size = [f"size={mount.size}"] if mount.size else []
            options = ["nosuid", "nodev", "mode=1777", *size]
            return [{"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}]
        if mount.kind == "secret":
            return self._secret(mount, env)
        if mount.kind == "ssh":
            return self._ssh(mount, env)
        if mount.kind == "cache":
            if mount.from_ or mount.source:
                raise unsupported(self.typed.source, "a cache mount with from or source is not supported")
            return [_bind(self.context.workspace.cache_mount(mount), mount)]
        return [_bind(self._bind_source(mount), mount)]

    def _bind_source(self, mount: run_mounts.Mount) -> str:
        """A path on the host with what is mounted: the context itself where that is safe, else a copy."""
        source = self.context.source(mount.from_)
        tree = source.tree
        resolved = self._resolve(tree, mount)
        plain = source.layers is None and not tree.exclude and not mount.writable and not mount.from_
        if plain and self.context.request.context is not None:
            return os.path.join(os.path.realpath(self.context.request.context), resolved)
        directory = self.context.workspace.directory()
        name = posixpath.basename(resolved) or "root"
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copier = Copier(tree, Destination(fd))
            if not stat.S_ISDIR(tree.stat(resolved).st_mode):
                copier.copy(resolved, name, "/")
                return f"{directory}/{name}"
            copier.copy(resolved, "", "/")
            return directory
        finally:
            os.close(fd)

    def _secret(self, mount: run_mounts.Mount, env: dict[str, str]) -> list[dict[str, Any]]:
        value = self.context.request.secrets.get(mount.id)
        if value is None:
            if mount.required:
                raise bad(
                    self.typed.source,
                    f"secret {mount.id} is required",
                    f"give it with: --secret id={mount.id},src=FILE",
                )
            return []
        if isinstance(value, str):
            path = value
            try:
                with open(path, "rb") as file:
                    value = file.read(_SECRET_LIMIT + 1)
            except OSError as error:
                raise NotFound(f"secret {mount.id}: {path}: {reason(error)}") from None
        if len(value) > _SECRET_LIMIT:
            raise bad(self.typed.source, f"secret {mount.id} is larger than {_SECRET_LIMIT >> 10} KiB")
        if mount.env is not None:
            env[mount.env or mount.id] = value.decode("utf-8", "surrogateescape")
        if not mount.target:
            return []
        aside = self.context.workspace.secret()
        mode = 0o400 if mount.mode is None else mount.mode
        _write(aside, value, mode, mount.uid or 0, mount.gid or 0)
        return [_bind(aside, mount)]

    def _ssh(self, mount: run_mounts.Mount, env: dict[str, str]) -> list[dict[str, Any]]:
        socket = self.context.request.ssh.get(mount.id)
        if socket is None:
            if mount.required:
                raise bad(
                    self.typed.source,
                    f"ssh agent {mount.id} is required",
                    "give it with: --ssh default=SOCKET",
                )
            return []
        env["SSH_AUTH_SOCK"] = mount.target
        return [_bind(os.path.realpath(socket), mount)]

    def _script_mount(self) -> dict[str, Any]:
        directory = self.context.workspace.directory()
        name = posixpath.basename(self.argv[0])
        _write(f"{directory}/{name}", self.script.encode("utf-8", "replace"), 0o755, 0, 0)
        return {
            "destination": DOCUMENTS,
            "type": "bind",
            "source": directory,
            "options": ["bind", "ro", "nosuid", "nodev"],
        }


_SECRET_LIMIT = 512 << 10  # bytes, as docker has it


def _bind(source: str, mount: run_mounts.Mount) -> dict[str, Any]:
    access = "rw" if mount.writable else "ro"
    options = ["bind", access, "nosuid", "nodev"]
    return {"destination": mount.target, "type": "bind", "source": source, "options": options}


def _write(path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
