"""What a client lends to its build over the session: secrets, credentials, and agents that it forwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

from estiva.api.buildkit import messages
from estiva.api.buildkit.rpc import RpcError
from estiva.engine.builds.lent import LentAgents, LentSecrets, Sockets
from estiva.engine.images.logins import Lent
from estiva.errors import Denied, EngineError, oneline

if TYPE_CHECKING:
    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.session import Session
    from estiva.engine import Engine

SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
HUB = "registry-1.docker.io"
PIECE = 1 << 15  # bytes
CONNECTIONS = 64  # to one agent at once


def secrets(session: Session) -> LentSecrets:
    """Each asked for when a step wants it; for the threads of a build."""

    def ask(name: str) -> bytes | None:
        if not session.offers(SECRET):
            return None
        request = messages.SECRET_REQUEST.encode({"id": name})
        try:
            answer = session.wait(session.ask(SECRET, request, messages.CHUNK))
        except RpcError as error:
            if "not found" in error.message:  # the code is that of any error
                return None
            raise EngineError(f"secret {oneline(name)}: {oneline(error.message)}") from None
        return bytes(answer.get("data", b""))

    return LentSecrets(ask)


def logins(session: Session) -> Lent:
    """The client's credentials of a registry, asked for when that is; for the threads of a build.

    As with BuildKit it is asked by the host that Docker Hub answers at, and a secret without a user is an
    identity token.
    """

    def ask(host: str) -> dict[str, str] | None:
        if not session.offers(CREDENTIALS):
            return None
        name = HUB if host == "docker.io" else host
        try:
            request = messages.HOST.encode({"host": name})
            answer = session.wait(session.ask(CREDENTIALS, request, messages.CREDENTIALS))
        except RpcError as error:
            raise Denied(f"the client's credentials for {host}: {oneline(error.message)}") from None
        user, secret = answer.get("user", ""), answer.get("secret", "")
        if not secret:
            return None
        return {"username": user, "password": secret} if user else {"identitytoken": secret}

    return Lent(ask)


class Forwarded:
    """The client's agents, each at a socket of ours once a step wants it; until `close`."""

    def __init__(self, session: Session, engine: Engine) -> None:
        self.session = session
        self.engine = engine
        self.agents = LentAgents(self._ask)
        self._folder: Sockets | None = None
        self._servers: list[asyncio.Server] = []
        self._open = asyncio.Semaphore(CONNECTIONS)

    def _ask(self, name: str) -> list[str] | None:
        if not self.session.offers(CHECK):
            return None
        request = messages.AGENT_REQUEST.encode({"id": name})
        try:
            self.session.wait(self.session.ask(CHECK, request, messages.EMPTY))
        except RpcError as error:
            if "unset ssh forward key" in error.message:
                return None
            raise EngineError(f"ssh agent {oneline(name)}: {oneline(error.message)}") from None
        return [self.session.wait(self._listen(name))]

    async def _listen(self, name: str) -> str:
        if self._folder is None:
            self._folder = Sockets(self.engine)
        path = f"{self._folder.path}/{hashlib.sha256(name.encode()).hexdigest()[:8]}"

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with self._open:
                    await self._relay(name, reader, writer)
            finally:
                writer.close()

        self._servers.append(await asyncio.start_unix_server(accept, path))
        return path

    async def _relay(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(RpcError, ConnectionError):
            async with self.session.stream(FORWARD, [("buildkit.ssh.id", name)]) as call:
                asking = asyncio.create_task(_asked(reader, call))
                try:
                    while data := await call.receive():
                        writer.write(b"".join(messages.CHUNK.decode(each).get("data", b"") for each in data))
                        await writer.drain()
                finally:
                    asking.cancel()

    def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._folder is not None:
            self._folder.close()


async def _asked(reader: asyncio.StreamReader, call: Call) -> None:
    """What a step asks the agent."""
    with contextlib.suppress(RpcError):
        while data := await reader.read(PIECE):
            await call.send([messages.CHUNK.encode({"data": data})])
        await call.close()
