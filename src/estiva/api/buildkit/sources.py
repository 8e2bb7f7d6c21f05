"""Where a build's files come from: folders of the client, brought here, or what it names elsewhere."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import asked
from estiva.api.buildkit.content import Fetch
from estiva.api.buildkit.lent import Forwarded, secrets
from estiva.api.buildkit.rpc import NOT_FOUND, UNKNOWN, RpcError
from estiva.api.buildkit.status import DEFINITION, REMOTE
from estiva.api.buildkit.transfer import DIFF_COPY, receive, upload
from estiva.engine.builds import begins, contexts
from estiva.engine.builds import build as builds
from estiva.errors import oneline

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import IO

    from estiva.api.app import Api
    from estiva.api.buildkit.session import Session
    from estiva.api.buildkit.shared import Result
    from estiva.api.buildkit.status import Progress
    from estiva.api.builds.uploads import Body

UPLOADED = "http://buildkit-session/"
IGNORE = ".dockerignore"


class Sources:
    """One build's. `close` it; the folders go once the build that reads them has ended."""

    def __init__(
        self,
        api: Api,
        progress: Progress,
        session: Session,
        attrs: dict[str, str],
        inputs: dict[str, Result],
    ) -> None:
        self.session = session
        self.attrs = attrs
        self.inputs = inputs
        self.name = attrs.get("filename", "") or "Dockerfile"
        self.text = ""  # of the Dockerfile, where the client has it
        self.body: Body | None = None  # an archive that has come otherwise than by the session
        self.workspace = ""  # a folder of this build alone
        self._progress = progress
        self._reads = False  # whether a step reads the context
        self._api = api
        self._forwarded = Forwarded(session, api.engine)
        self._folders: list[contexts.Folder] = []
        self._files: list[IO[bytes]] = []
        self._users: list[Future[Any]] = []

    def used(self, future: Future[Any]) -> None:
        """The folders stay at least until this has ended."""
        self._users.append(future)

    async def close(self) -> None:
        """Soon: a thread of a build that nobody waits for any more may need a moment to end. What is kept for
        the client's next build is free at once; nobody waits for what is removed."""
        self._forwarded.close()
        waiting = {future for future in self._users if not future.done()}
        for future in waiting:
            future.add_done_callback(lambda _: self._remove())
        if not waiting:
            for folder in [each for each in self._folders if not each.once]:
                folder.close()
            self._api.work.short.submit(self._remove)

    def _remove(self) -> None:
        while self._files:
            self._files.pop().close()
        while self._folders:
            self._folders.pop().close()

    async def _folder(self, key: str) -> contexts.Folder:
        shared = self.session.shared
        folder = await self._api.work.long_do(
            contexts.Folder, self._api.engine, f"{shared}\0{key}" if shared and key else ""
        )
        self._folders.append(folder)
        return folder

    async def bring(self) -> dict[str, Any]:
        """What it takes of engine.builds.build's options. Raises EstivaError, RpcError."""
        attrs = self.attrs
        self.workspace = (await self._folder("")).path
        found: dict[str, Any] = {"secrets": secrets(self.session), "ssh": self._forwarded.agents}
        remote = attrs.get("context", "")
        ignored: list[str] = []
        if not remote or "dockerfilekey" in attrs:
            ignored = await self._dockerfile(found, None if remote else attrs.get("contextkey", "context"))
        else:
            found["dockerfile"] = attrs.get("filename", "").lstrip("/") or None  # one in the context
        if remote.startswith(UPLOADED):
            file = await self._uploaded(remote.removeprefix(UPLOADED))
            if self.body is not None and not await self._api.work.do(contexts.is_archive, file):
                found["dockerfile_text"] = await self._api.work.do(contexts.text, file)  # as docker takes it
            else:
                found["context"] = file
        elif remote:
            found["context"] = builds.elsewhere(remote)
            self._progress.begin(REMOTE, f"[internal] load {begins.source(remote)}")
        elif self._reads and self.session.offers(DIFF_COPY):
            local = attrs.get("contextkey", "context")
            found["context"] = await self._local(local, "[internal] load build context", ignored)
        named = {}
        for name, value in self._contexts().items():
            named[name] = await self._named(name, value)
        found["build_contexts"] = named
        return found

    async def _dockerfile(self, found: dict[str, Any], context: str | None) -> list[str]:
        """The Dockerfile, and the patterns that are not to be sent."""
        progress, name = self._progress, self.name
        progress.begin(DEFINITION, f"[internal] load build definition from {os.path.basename(name)}")
        if not self.session.offers(DIFF_COPY):
            raise RpcError(UNKNOWN, "failed to read dockerfile: no local sources enabled")
        general = asyncio.create_task(self._ignore(context)) if context is not None else None
        try:
            return await self._definition(found, general)
        finally:
            if general is not None:  # where another is the one, or the Dockerfile is not there
                general.cancel()
                await asyncio.gather(general, return_exceptions=True)

    async def _definition(self, found: dict[str, Any], general: asyncio.Task[bytes] | None) -> list[str]:
        """The same; `general`: the context's own patterns, which come meanwhile."""
        progress, name = self._progress, self.name
        folder = await self._folder("")
        key = self.attrs.get("dockerfilekey", "dockerfile")
        own = f"{name}{IGNORE}"
        size = await receive(self.session, self._api.work, key, folder.path, only=[name, own])
        progress.status(DEFINITION, "transferring dockerfile:", current=size)
        text = await self._api.work.do(contexts.read, folder.path, name)
        if text is None:
            error = f"failed to read dockerfile: open {oneline(name)[:200]}: no such file or directory"
            progress.end(DEFINITION)
            raise RpcError(UNKNOWN, error)
        progress.end(DEFINITION)
        self.text = text.decode("utf-8", "replace")
        found["dockerfile"], found["dockerfile_folder"] = name, folder.path
        self.name = os.path.basename(name)
        found_bases = [] if "requestid" in self.attrs else await self._bases()
        ignore = await self._api.work.do(contexts.read, folder.path, own)
        if ignore is None and general is not None:
            ignore = await general
            if ignore:
                await self._api.work.do(contexts.write, folder.path, IGNORE, ignore)
        for base in found_bases:
            if base.here:
                progress.base(base.shown)
        return contexts.patterns(ignore or b"", IGNORE)

    async def _bases(self) -> list[begins.Base]:
        """The images that the build begins with: it is told that they are looked for."""
        options = asked.options(self.attrs)
        several = options.get("platforms", [])
        words = {name: options[name] for name in ("build_args", "target")}
        words |= {"several": bool(several), "contexts": self._contexts()}
        every: dict[str, begins.Base] = {}
        for platform in several or [options.get("platform")]:
            found, reads = await self._api.work.do(
                begins.look, self._api.engine, self.text, platform=platform, **words
            )
            self._reads |= reads
            for base in found:
                every[base.shown] = base
                self._progress.metadata(platform if several else "", base.name, here=base.here)
        return list(every.values())

    def _contexts(self) -> dict[str, str]:
        """The named ones, as the client tells them."""
        prefix = "context:"
        return {name[len(prefix) :]: value for name, value in self.attrs.items() if name.startswith(prefix)}

    async def _ignore(self, local: str, where: str = "internal", what: str = "context") -> bytes:
        key = f"ignore {local}"
        self._progress.begin(key, f"[{where}] load .dockerignore")
        folder = await self._folder("")
        size = await receive(self.session, self._api.work, local, folder.path, only=[IGNORE])
        self._progress.status(key, f"transferring {oneline(what)[:100]}:", current=size)
        self._progress.end(key)
        return await self._api.work.do(contexts.read, folder.path, IGNORE) or b""

    async def _local(self, local: str, title: str, exclude: list[str], what: str = "context") -> str:
        """A folder of the client's, here."""
        words = f"transferring {oneline(what)[:100]}:"
        key = f"local {local}"
        progress = self._progress
        progress.begin(key, title)
        folder = await self._folder(local)
        size = await receive(
            self.session,
            self._api.work,
            local,
            folder.path,
            exclude=exclude,
            progress=lambda size: progress.status(key, words, current=size, done=False),
        )
        progress.status(key, words, current=size)
        progress.end(key)
        return folder.path

    async def _named(self, name: str, value: str) -> str:
        kind, _, rest = value.partition(":")
        where = f"context {oneline(name)[:100]}"
        if kind == "local":
            ignore = await self._ignore(rest, where, name)
            patterns = contexts.patterns(ignore, IGNORE)
            return await self._local(rest, f"[{where}] load from client", patterns, name)
        if kind == "docker-image":
            image = oneline(rest.removeprefix("//"))[:200]
            for title in (f"[{where}] load metadata for {image}", f"[{where}] {image}"):
                self._progress.begin(title, title)
                self._progress.end(title)
        if kind == "input":
            ref = self.inputs.get(rest)
            if ref is None:
                raise RpcError(NOT_FOUND, f"no input {oneline(rest)[:100]} for the build context")
            return "docker-image://" + await ref.evaluate()
        if kind == "oci-layout":
            return "oci-layout://" + await self._layout(rest.removeprefix("//"))
        return builds.elsewhere(value, image=True)

    async def _layout(self, place: str) -> str:
        """A layout of the client's, STORE[:TAG]@DIGEST, here."""
        store, _, digest = place.partition("@")
        store, _, tag = store.partition(":")
        key = f"layout {store}"
        self._progress.begin(key, "[context] OCI load from client")
        folder = (await self._folder("")).path
        await Fetch(self.session, self._api.work, f"oci:{store}", folder).run(digest, tag)
        self._progress.end(key)
        return f"{folder}@{digest}"

    async def caches(self, entries: list[dict[str, Any]]) -> list[str]:
        """--cache-from; those in folders of the client's are brought here. Raises EstivaError, RpcError."""
        found = []
        for entry in entries:
            attrs = entry.get("attrs", {})
            if entry.get("type") != "local":
                found.append(asked.cache(entry))
                if ref := attrs.get(
                    "ref"
                ):  # it is read once a step wants it; what is wrong then is a warning
                    title = f"importing cache manifest from {oneline(ref)[:200]}"
                    self._progress.begin(title, title)
                    self._progress.end(title)
                continue
            folder = (await self._folder("")).path
            key = f"cache {attrs.get('src')}"
            self._progress.begin(key, "importing cache manifest from local")
            fetch = Fetch(self.session, self._api.work, f"local:{attrs.get('src', '')}", folder)
            await fetch.run(attrs.get("digest", ""), attrs.get("tag", ""))
            self._progress.end(key)
            found.append(asked.cache({"type": "local"}, src=folder, digest=attrs.get("digest", "")))
        return found

    async def _uploaded(self, path: str) -> IO[bytes]:
        """An archive that the client reads from its stdin."""
        self._progress.begin("upload", "[internal] load remote build context")
        file = open(os.path.join(self.workspace, "context"), "w+b")
        self._files.append(file)
        if self.body is not None:
            await self.body.into(self._api.work, file)
        else:
            await upload(self.session, self._api.work, path, file)
        await self._api.work.do(file.seek, 0)
        self._progress.end("upload")
        return file
