"""Where a build's result goes: the exporters of a client as our outputs, and files back to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import asked
from estiva.api.buildkit.content import give
from estiva.api.buildkit.rpc import UNKNOWN, RpcError
from estiva.api.buildkit.transfer import SEND, Outgoing, send_folder
from estiva.errors import InvalidInput, brief, oneline

if TYPE_CHECKING:
    from estiva.api.buildkit.session import Session
    from estiva.api.buildkit.status import Progress
    from estiva.api.work import Work

TITLES = {
    "tar": "exporting to client tarball",
    "oci": "exporting to oci image format",
    "docker": "exporting to docker image format",
}
STREAMS = tuple(TITLES)
# of the image exporter: docker's client pushes by itself, and the store has one way to keep an image
MOBY = ("name", "annotation", "compression", "force-compression", "oci-mediatypes", "rewrite-timestamp")


def check(exporters: list[dict[str, Any]]) -> None:
    """Raises RpcError for one that there isn't."""
    for each in exporters:
        if each.get("type") not in ("moby", "image", "local", *STREAMS):
            raise RpcError(UNKNOWN, f'exporter "{oneline(each.get("type", ""))[:60]}" could not be found')


class Outputs:
    """Those of one build. What the client gets is written to its workspace first. Raises InvalidInput."""

    def __init__(self, session: Session, work: Work, exporters: list[dict[str, Any]], workspace: str) -> None:
        self.session, self.work = session, work
        self._words: list[dict[str, object]] = []
        self._back: list[tuple[int, str, str]] = []  # number, kind, path
        self._layouts: list[tuple[str, str, str]] = []  # store, folder, what tells the client of it
        self.workspace = workspace
        for number, each in enumerate(exporters):
            self._words.append(self._word(number, each.get("type", ""), each.get("attrs", {}), workspace))

    def words(self) -> list[dict[str, object]]:
        return self._words or [{"type": "cacheonly"}]

    def _word(self, number: int, kind: str, attrs: dict[str, str], workspace: str) -> dict[str, object]:
        if kind == "moby":
            kept = {name: value for name, value in attrs.items() if name.startswith(MOBY)}
            return {**kept, "type": "image"}
        if kind == "image":
            return {**attrs, "type": "image"}
        rest = {name: value for name, value in attrs.items() if name not in ("dest", "tar")}
        if kind == "local" or kind in STREAMS:
            path = os.path.join(workspace, f"output-{number}")
            if attrs.get("tar") == "false":
                self._layouts.append(("export", path, "containerimage.descriptor"))
                return {**rest, "type": "oci", "dest": path, "tar": "false"}
            if not self.session.offers(SEND):
                raise InvalidInput("the client takes no files")
            self._back.append((number, kind, path))
            return {**rest, "type": kind, "dest": path}
        raise InvalidInput(f"unknown exporter {brief(kind, 60)}")  # check() has said so

    def caches(self, entries: list[dict[str, Any]]) -> list[str]:
        """--cache-to; what is for a folder of the client's is written here first."""
        found = []
        for number, entry in enumerate(entries):
            if entry.get("type") != "local":
                found.append(asked.cache(entry))
                continue
            path = os.path.join(self.workspace, f"cache-{number}")
            dest = entry.get("attrs", {}).get("dest", "")
            self._layouts.append((f"local:{dest}", path, "cache.manifest"))
            found.append(asked.cache(entry, dest=path))
        return found

    async def send(self, progress: Progress) -> dict[str, Any]:
        """Give the client what is for it; what it has to know of that. Raises EstivaError, RpcError."""
        told: dict[str, Any] = {}
        for store, folder, name in self._layouts:
            progress.begin(
                folder, "exporting cache to client directory" if "cache" in name else "sending layout"
            )
            told[name] = await give(self.session, self.work, store, folder)
            progress.end(folder)
        for number, kind, path in self._back:
            key = f"send {number}"
            if kind == "local":
                progress.begin(key, "exporting to client directory")
                size = await send_folder(self.session, self.work, path, number)
                progress.status(key, "copying files", current=size)
            else:
                progress.begin(key, TITLES[kind])
                await Outgoing(self.session, number).send(path, self.work)
                progress.status(key, "sending tarball")
            progress.end(key)
        return told
