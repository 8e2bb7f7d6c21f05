"""The mounts of a RUN: what they show, what of that is in the cache's key, and what is made for them.

A secret reaches the command only: as a file in memory that has no name outside (before Linux 6.15: in the
build's scratch directory), or as a variable of that one command. It is in no layer, no history and no cache
key (K14). What a bind mount lets the command
write is thrown away.
"""

from __future__ import annotations

import os

from estiva.builder.files import frozen
from estiva.builder.files.cache_mounts import Base, CacheMounts, Wanted
from estiva.builder.files.tree import Missing
from estiva.builder.frontend import run_mounts
from estiva.builder.frontend.errors import bad
from estiva.builder.request import Agent
from estiva.builder.steps.binds import Bind
from estiva.builder.steps.written import diff_ids
from estiva.errors import NotFound, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from estiva.builder.files.tree import Tree
    from estiva.builder.frontend.instructions import Command
    from estiva.builder.frontend.run_mounts import Mount
    from estiva.builder.frontend.variables import Expander
    from estiva.builder.steps.context import Source, StepContext


SCRIPTS = "/dev/pipes"  # where a here-document with its own interpreter line is run from
_MOST = 200  # bind mounts of one RUN, whose fds go to its container in one packet
_SECRET_LIMIT = 512 << 10  # bytes, as docker has it


class Mounts:
    """Those of one RUN. `planned` and `mounted` are a Step's, once `make` was called; then `close` it."""

    def __init__(self, context: StepContext, typed: Command, expand: Expander, workdir: str) -> None:
        self.context = context
        self.typed = typed
        self.wanted = run_mounts.parse_all(typed.mounts, expand, workdir)
        self.planned: list[dict[str, Any]] = []
        self.mounted: dict[str, int] = {}
        self.bases: dict[int, Base] = {}  # of cache mounts, by their places in `wanted`
        self.caches: CacheMounts | None = None
        self.met = False  # see CacheMounts
        self.agents: list[Agent] = []
        self.binds: dict[int, Bind] = {}  # by their places in `wanted`

    def close(self) -> None:
        while self.mounted:
            os.close(self.mounted.popitem()[1])
        for bind in self.binds.values():
            bind.close()
        if self.caches is not None:
            self.caches.close()
            self.met = self.caches.met
            self.caches = None
        self.context.workspace.release()

    def find(self) -> None:
        """Look for the sources of mounts. Raises DockerfileError for one that is missing."""
        for index, mount in enumerate(self.wanted):
            if mount.kind == "bind":
                source = self.context.source(mount.from_)
                resolve = self._resolver(source, mount)
                self.binds[index] = Bind(self.context, mount, source, resolve)
            elif self._based(mount):
                self.bases[index] = self._base(mount)

    def shown(self) -> Iterator[list[list[Any]]]:
        """What of the mounts changes the result: of stages and images first their layers, where those are
        known and nothing need be read; then the content of what is mounted; and what a cache begins with.
        Never a secret, nor what is in a cache.

        Before `make`, a folder's content as it is now; after, that of what is mounted.
        """
        layers = {index: bind.layers for index, bind in self.binds.items()}
        if None not in layers.values():
            yield self._fields(layers)
        contents = {index: bind.content for index, bind in self.binds.items()}
        if contents != layers:
            yield self._fields(contents)

    def defined(self) -> list[list[Any]] | None:
        """The same of stages that need not be built; None where there is none, or one of them is unknown."""
        if not any(bind.source.stage for bind in self.binds.values()):
            return None
        definitions = {index: bind.definition for index, bind in self.binds.items()}
        return None if None in definitions.values() else self._fields(definitions)

    def _fields(self, contents: Mapping[int, list[str] | None]) -> list[list[Any]]:
        result = []
        for index, mount in enumerate(self.wanted):
            fields: list[Any] = [mount.kind, mount.target, mount.writable, mount.id, mount.env, mount.size]
            if mount.kind == "bind":
                fields += [mount.source, contents[index]]
            elif index in self.bases:
                fields += [self.bases[index].path, self.bases[index].content]
            if (owner := [mount.uid, mount.gid, mount.mode]) != [None, None, None]:
                fields.append({"owner": owner})  # which the command sees, of secrets, agents and caches
            result.append(fields)
        return result

    def changed(self) -> str:
        """What was mounted of the host's and is not as the key tells any more, in words; "" if nothing."""
        for bind in self.binds.values():
            path = bind.changed()
            if path is not None:
                return f"{bind.name} changed while RUN read it ({path})"
        return ""

    def make(self, env: dict[str, str], script: tuple[str, str] | None) -> None:
        """Make them; secrets for the environment go to `env`. `script`: (name, text) of a file in SCRIPTS.

        Of two with the same target the later one counts. `find` was called before. Raises InvalidInput and
        others, naming the line.
        """
        paths = self._caches()
        for index, mount in enumerate(self.wanted):
            if mount.kind == "tmpfs":
                size = [f"size={mount.size}"] if mount.size else []
                access = "rw" if mount.writable else "ro"
                self._plan(mount.target, "tmpfs", [access, "nosuid", "nodev", "mode=1777", *size], "tmpfs")
            elif mount.kind == "secret":
                self._secret(mount, env)
            elif mount.kind == "ssh":
                self._ssh(mount, env)
            elif mount.kind == "cache":
                self._plan_bind(mount, paths[index])
            else:
                bind = self.binds[index]
                self._plan_bind(mount, f"{bind.name}:/{bind.resolved}", bind.open())
        if script is not None:
            directory = self.context.workspace.directory()
            _write(f"{directory}/{script[0]}", script[1].encode("utf-8", "replace"), 0o755, 0, 0)
            self._plan(SCRIPTS, "bind", ["bind", "ro", "nosuid", "nodev"], directory)

    def _plan(self, target: str, kind: str, options: list[str], source: str, fd: int = -1) -> None:
        self.planned = [each for each in self.planned if each["destination"] != target]
        hidden = self.mounted.pop(target, -1)
        if hidden >= 0:
            os.close(hidden)
        if fd >= 0:
            self.mounted[target] = fd
            if len(self.mounted) > _MOST:
                raise bad(self.typed.source, f"a RUN can't have more than {_MOST} bind mounts")
        self.planned.append({"destination": target, "type": kind, "source": source, "options": options})

    def _plan_bind(self, mount: Mount, source: str, fd: int = -1) -> None:
        access = "rw" if mount.writable else "ro"
        self._plan(mount.target, "bind", ["bind", access, "nosuid", "nodev"], source, fd)

    def _resolver(self, source: Source, mount: Mount) -> Callable[[], str]:
        return lambda: self._resolve(source.tree, mount)

    def _resolve(self, tree: Tree, mount: Mount) -> str:
        try:
            return tree.resolve(mount.source)
        except Missing:
            where = mount.from_ or "the build context"
            raise bad(self.typed.source, f"no '{mount.source}' in {where} to mount") from None

    def _based(self, mount: Mount) -> bool:
        """Whether a cache mount begins with files of `from`. One that has an owner or mode and no source
        begins empty, as with docker, which takes a new directory in it then.
        """
        if mount.kind != "cache" or not mount.from_:
            return False
        asked = (mount.uid, mount.gid, mount.mode) != (None, None, None)
        return not asked or mount.subpath != ""

    def _base(self, mount: Mount) -> Base:
        source = self.context.source(mount.from_)
        resolved = self._resolve(source.tree, mount)
        if source.layers is not None and not source.stage and not resolved:
            return Base(source.tree, resolved, diff_ids(source.layers))
        digest = source.tree.digest(resolved, firm=True)
        return Base(source.tree, resolved, [digest], source.layers is None)

    def _caches(self) -> dict[int, str]:
        """Take the cache mounts; by their places in `wanted`, what is mounted."""
        wanted = {
            index: Wanted(mount, self.bases.get(index))
            for index, mount in enumerate(self.wanted)
            if mount.kind == "cache"
        }
        if not wanted:
            return {}
        context = self.context
        self.caches = CacheMounts(
            list(wanted.values()),
            context.store.paths.cache + "/build/mounts",
            context.workspace.directory,
            context.look,
            lambda name: context.output(f"waiting for the cache mount {name}, which is in use\n".encode()),
        )
        return dict(zip(wanted, self.caches.paths, strict=True))

    def _secret(self, mount: Mount, env: dict[str, str]) -> None:
        value = self.context.request.secrets.get(mount.id)
        if value is None:
            if mount.required:
                hint = f"give it with: --secret id={mount.id},src=FILE"
                raise bad(self.typed.source, f"secret {mount.id} is required", hint)
            return
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
        if mount.target:
            mode = 0o400 if mount.mode is None else mount.mode & 0o777
            owned = mode, mount.uid or 0, mount.gid or 0
            fd = frozen.in_memory(value, *owned)
            if fd >= 0:
                self._plan_bind(mount, f"secret {mount.id}", fd)
            else:
                aside = self.context.workspace.secret()
                _write(aside, value, *owned)
                self._plan_bind(mount, aside)

    def _ssh(self, mount: Mount, env: dict[str, str]) -> None:
        """The first one is what SSH_AUTH_SOCK names, where nothing else does, as with docker."""
        places = self.context.request.ssh.get(mount.id)
        if places is None:
            if mount.required:
                hint = f"give it with: --ssh {mount.id}=SOCKET, or the file of a key"
                raise bad(self.typed.source, f"ssh agent {mount.id} is required", hint)
            return
        path = self.context.workspace.secret()
        mode = 0o600 if mount.mode is None else mount.mode & 0o777
        self.agents.append(Agent(path, places, mode, mount.uid or 0, mount.gid or 0))
        env.setdefault("SSH_AUTH_SOCK", mount.target)
        self._plan_bind(mount, path)


def _write(path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
