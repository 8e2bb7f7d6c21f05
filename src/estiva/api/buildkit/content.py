"""Image layouts of the client's, over its session: containerd's content service, by the name of a store.

What comes is checked by its digest before anybody reads it (K10); what goes is left out where it is there.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit.messages import CONTENT_READ, CONTENT_READING, CONTENT_WRITE, CONTENT_WRITTEN
from estiva.api.buildkit.rpc import EXISTS, INTERNAL, RpcError
from estiva.errors import IntegrityError, InvalidInput, brief
from estiva.oci import digest as digests
from estiva.oci import image as documents

if TYPE_CHECKING:
    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.session import Session
    from estiva.api.work import Work

SERVICE = "/containerd.services.content.v1.Content/"
STORE = "buildkit-attachable-store-id"  # the header that says which store is meant
PIECE = 1 << 20  # bytes of a message
DEEP = 8  # indexes in each other
WRITE, COMMIT = 1, 2


class Fetch:
    """An image, or a cache, of a store, with all that it is made of, into a layout folder of ours."""

    def __init__(self, session: Session, work: Work, store: str, folder: str) -> None:
        if not session.offers(SERVICE + "Read"):
            raise InvalidInput("the client offers no content")
        self.session, self.work = session, work
        self.store, self.folder = store, folder
        self._known: set[str] = set()

    async def run(self, digest: str, tag: str) -> None:
        """Raises EstivaError, RpcError."""
        digests.parse(digest)
        await self.work.do(os.makedirs, f"{self.folder}/blobs/sha256", exist_ok=True)
        kind, size = await self._graph(digest, documents.DOCUMENT_LIMIT, DEEP)
        about = documents.descriptor(kind, digest, size)
        about["annotations"] = {"org.opencontainers.image.ref.name": tag or "latest"}
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": [about]}
        for name, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            await self.work.do(_put, f"{self.folder}/{name}", json.dumps(value).encode())

    async def _graph(self, digest: str, size: int, depth: int) -> tuple[str, int]:
        """A document and what it names; (its media type, its bytes)."""
        if depth < 0:
            raise InvalidInput("the indexes of the client's layout are nested too deep")
        path = await self._blob(digest, min(size, documents.DOCUMENT_LIMIT))
        data = await self.work.do(_get, path)
        document = documents.parse_document(data, artifact=True)
        if documents.is_index(document):
            kind = str(document.get("mediaType") or documents.OCI_INDEX)
            for each in document["manifests"]:
                await self._graph(each["digest"], each["size"], depth - 1)
        else:
            kind = str(document.get("mediaType") or documents.OCI_MANIFEST)
            for each in (document["config"], *document["layers"]):
                await self._blob(each["digest"], each["size"])
        return kind, len(data)

    async def _blob(self, digest: str, size: int) -> str:
        algorithm, hexadecimal = digests.parse(digest)
        if algorithm != "sha256":
            raise InvalidInput(f"a digest of the client's layout is not sha256: {brief(digest, 100)}")
        path = f"{self.folder}/blobs/sha256/{hexadecimal}"
        if digest in self._known:
            return path
        hasher = digests.hasher(algorithm)
        got = 0
        with open(path, "xb") as file:
            async with self.session.stream(SERVICE + "Read", [(STORE, self.store)]) as call:
                await call.send([CONTENT_READ.encode({"digest": digest})])
                await call.close()
                while found := await call.receive():
                    data = b"".join(CONTENT_READING.decode(each).get("data", b"") for each in found)
                    got += len(data)
                    if got > size:
                        raise IntegrityError(f"{brief(digest, 100)} of the client has over {size} bytes")
                    hasher.update(data)
                    await self.work.do(file.write, data)
        if hasher.hexdigest() != hexadecimal:
            raise IntegrityError(f"{brief(digest, 100)} of the client is not what its digest says")
        self._known.add(digest)
        return path


async def give(session: Session, work: Work, store: str, folder: str) -> dict[str, Any]:
    """All blobs of a layout of ours into a store of the client's; the descriptor of what its index names.
    Raises InvalidInput, RpcError."""
    if not session.offers(SERVICE + "Write"):
        raise InvalidInput("the client takes no content")
    blobs = f"{folder}/blobs/sha256"
    for name in sorted(await work.do(os.listdir, blobs)):
        await _give(session, work, store, f"{blobs}/{name}", f"sha256:{name}")
    index = json.loads(await work.do(_get, f"{folder}/index.json"))
    about: dict[str, Any] = index["manifests"][0]
    return about


async def _give(session: Session, work: Work, store: str, path: str, digest: str) -> None:
    metadata = [(STORE, store)]
    total = os.stat(path).st_size
    about = {"ref": f"estiva-{digest}", "total": total, "expected": digest}
    async with session.stream(SERVICE + "Write", metadata) as call:
        with open(path, "rb") as file:
            try:
                await _said(call, about)
                at = 0  # what a broken write has left is written again
                while data := await work.do(file.read, PIECE):
                    at = await _said(call, {"action": WRITE, "offset": at, "data": data})
                await _said(call, {"action": COMMIT, "offset": at, "total": total, "expected": digest})
            except RpcError as error:
                if error.code != EXISTS:
                    raise


async def _said(call: Call, request: dict[str, Any]) -> int:
    """One step of a write; how much is there then."""
    await call.send([CONTENT_WRITE.encode(request)])
    found = await call.receive()  # a commit is answered twice
    if not found:
        raise RpcError(INTERNAL, "the client has not taken all of the content")
    return int(CONTENT_WRITTEN.decode(found[0]).get("offset", 0))


def _put(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _get(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(documents.DOCUMENT_LIMIT + 1)
