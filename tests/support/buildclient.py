"""A client of BuildKit's protocol that says what a test wants: buildx, but hostile where it has to be.

async with client(path) as kit:
    await kit.build(files, attrs)            a session, Solve, and the answer; what Status told is kit.told
"""

import asyncio
import contextlib
import os
import socket

from estiva.api.buildkit import messages
from estiva.api.buildkit.http2 import Connection
from estiva.api.buildkit.rpc import NOT_FOUND, RpcError

__all__ = ["Client", "Streams", "client", "pair", "upgraded"]


class Streams:
    """An asyncio stream as hijack.Stream has it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def read(self):
        try:
            return await self.reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def close(self):
        self.writer.close()


async def pair():
    """Two ends of a connection."""
    return [Streams(*await asyncio.open_connection(sock=end)) for end in socket.socketpair()]


async def upgraded(path, where, headers=()):
    """A connection to the server that is HTTP/2 from now on."""
    reader, writer = await asyncio.open_unix_connection(path)
    words = [f"POST {where} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: h2c", *headers]
    writer.write(("\r\n".join(words) + "\r\n\r\n").encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return Streams(reader, writer)


class Client:
    """`files`: {path: bytes} of each folder by its name; `secrets`; `packets` replaces what is told of a
    folder, and `data[folder](number)` the packets that a file which is asked for is answered with; `calls` are the methods that were asked for."""

    def __init__(self, path):
        self.path = path
        self.folders = {}
        self.packets = {}
        self.data = {}
        self.secrets = {}
        self.calls = []
        self.told = []
        self.session = os.urandom(8).hex()
        self.tasks = []

    async def open(self):
        methods = ["/moby.filesync.v1.FileSync/DiffCopy", "/moby.buildkit.secrets.v1.Secrets/GetSecret"]
        headers = [f"X-Docker-Expose-Session-Uuid: {self.session}"]
        headers += [f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in methods]
        self.serving = Connection(await upgraded(self.path, "/session", headers), answer=self._answer)
        self.tasks.append(asyncio.create_task(self.serving.run()))
        self.control = Connection(await upgraded(self.path, "/grpc"))
        self.tasks.append(asyncio.create_task(self.control.run()))
        await asyncio.sleep(0)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def ask(self, method, schema, request, answer, headers=()):
        call = await self.control.call(method, headers)
        await call.send([schema.encode(request)])
        await call.close()
        try:
            return answer.decode(await call.one())
        finally:
            self.control.drop(call)

    async def build(self, attrs=None, ref="", **more):
        ref = ref or os.urandom(8).hex()
        request = {
            "ref": ref,
            "session": self.session,
            "frontend": "dockerfile.v0",
            "attrs": attrs or {},
            **more,
        }
        listening = asyncio.create_task(self._listen(ref))
        try:
            method = "/moby.buildkit.v1.Control/Solve"
            return (await self.ask(method, messages.SOLVE, request, messages.SOLVED)).get("response", {})
        finally:
            with contextlib.suppress(TimeoutError, RpcError):
                await asyncio.wait_for(listening, 5)

    async def _listen(self, ref):
        call = await self.control.call("/moby.buildkit.v1.Control/Status")
        await call.send([messages.BY_REF.encode({"ref": ref})])
        await call.close()
        while found := await call.receive():
            self.told += [messages.PROGRESS.decode(each) for each in found]

    # --- what is asked of us ---

    async def _answer(self, call):
        method = call.headers[":path"]
        self.calls.append(method)
        if method.endswith("GetSecret"):
            name = messages.SECRET_REQUEST.decode(await call.one()).get("id", "")
            if name not in self.secrets:
                raise RpcError(NOT_FOUND, f"secret {name}: not found")
            await call.send([messages.CHUNK.encode({"data": self.secrets[name]})])
        elif method.endswith("FileSync/DiffCopy"):
            await self._send(call, call.headers["dir-name"])

    async def _send(self, call, name):
        files = self.folders.get(name, {})
        if name in self.packets:
            await call.send([messages.PACKET.encode(each) for each in self.packets[name]])
        else:
            for path, data in sorted(files.items()):
                stat = {"path": path, "mode": 0o644, "size": len(data), "mtime": 10**18}
                await call.send([messages.PACKET.encode({"stat": stat})])
            await call.send([messages.PACKET.encode({"type": messages.PACKET_STAT})])
        names = sorted(files)
        while found := await call.receive():
            for each in found:
                packet = messages.PACKET.decode(each)
                if packet.get("type") == messages.PACKET_REQ and name in self.data:
                    for answer in self.data[name](packet.get("id", 0)):
                        await call.send([messages.PACKET.encode(answer)])
                elif packet.get("type") == messages.PACKET_REQ and name not in self.packets:
                    number = packet.get("id", 0)
                    data = {"type": messages.PACKET_DATA, "id": number}
                    await call.send([messages.PACKET.encode({**data, "data": files[names[number]]})])
                    await call.send([messages.PACKET.encode(data)])
                elif packet.get("type") == messages.PACKET_FIN:
                    await call.send([messages.PACKET.encode({"type": messages.PACKET_FIN})])
                    return
                elif packet.get("type") == messages.PACKET_ERR:
                    return


@contextlib.asynccontextmanager
async def client(path):
    made = Client(path)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
