"""Where a build's result goes: the exporters of a client as our outputs, and files back to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit.transfer import SEND, Outgoing, send_folder
from estiva.errors import InvalidInput, Unsupported, brief

if TYPE_CHECKING:
    from estiva.api.buildkit.session import Session
    from estiva.api.buildkit.status import Progress
    from estiva.api.work import Work

STREAMS = ("tar", "oci", "docker")
# of the image exporter: docker's client pushes by itself, and the store has one way to keep an image
MOBY = ("name", "annotation", "compression", "force-compression", "oci-mediatypes", "rewrite-timestamp")


class Outputs:
    """Those of one build. What the client gets is written to its workspace first. Raises Unsupported."""

    def __init__(self, session: Session, work: Work, exporters: list[dict[str, Any]], workspace: str) -> None:
        self.session, self.work = session, work
        self._words: list[dict[str, object]] = []
        self._back: list[tuple[int, str, str]] = []  # number, kind, path
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
            if attrs.get("tar") == "false":
                raise Unsupported(f"type={kind},tar=false is not supported over the API", hint="write a tar")
            if not self.session.offers(SEND):
                raise InvalidInput("the client takes no files")
            path = os.path.join(workspace, f"output-{number}")
            self._back.append((number, kind, path))
            return {**rest, "type": kind, "dest": path}
        raise InvalidInput(f"unknown exporter {brief(kind, 60)}")

    async def send(self, progress: Progress) -> None:
        """Give the client what is for it. Raises EstivaError, RpcError."""
        for number, kind, path in self._back:
            key = f"send {number}"
            if kind == "local":
                progress.begin(key, "exporting to client directory")
                size = await send_folder(self.session, self.work, path, number)
            else:
                progress.begin(
                    key, f"exporting to {kind} file" if kind != "tar" else "exporting to client tarball"
                )
                size = await Outgoing(self.session, number).send(path, self.work)
            progress.status(key, "copying files", current=size)
            progress.end(key)
