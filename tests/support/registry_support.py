"""What the registry's tests share: a server in a thread, a proxy that misbehaves, a store, images."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from estiva.oci.reference import Reference
from estiva.paths import Paths
from estiva.registry import client
from estiva.registry.http.settings import Settings
from estiva.registry.server.server import listening
from estiva.store import Store

SOURCE = client.__file__.removesuffix("/estiva/registry/client.py")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# Quick to try again, but patient with a slow machine; where a registry falls silent, the client is not.
QUICK = Settings(connect=60, stall=120, attempts=3, backoff=0.01, backoff_limit=0.02)
IMPATIENT = replace(QUICK, stall=3)


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(address, method, path, body=b"", headers=None):
    """One HTTP request; (status, headers, body)."""
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def error_code(body):
    """The code of an error response of a registry."""
    return json.loads(body)["errors"][0]["code"]


def push_blob(address, repository, data, algorithm="sha256"):
    digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    status, _, body = ask(address, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
    assert status == 201, body
    return digest


@dataclass
class Sample:
    """An image as bytes."""

    manifest: bytes
    config: bytes
    layers: list[bytes]
    tars: list[bytes]

    @property
    def digest(self):
        return sha256(self.manifest)


def sample(seed=1, sizes=(300_000, 5_000), architecture="amd64", config_extra=None):
    """A made-up image; its layers' "tars" are random bytes, for stores that do not look inside."""
    tars = [random.Random(f"{seed} {number}").randbytes(size) for number, size in enumerate(sizes)]
    layers = [gzip.compress(tar, 0, mtime=0) for tar in tars]  # of noise nothing can be compressed
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": [f"SEED={seed}"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
            **(config_extra or {}),
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": sha256(config), "size": len(config)},
            "layers": [
                {"mediaType": OCI_LAYER, "digest": sha256(layer), "size": len(layer)} for layer in layers
            ],
        }
    ).encode()
    return Sample(manifest, config, layers, tars)


def upload(address, repository, tag, image):
    """Put a sample into a registry with plain HTTP requests."""
    for blob in [image.config, *image.layers]:
        push_blob(address, repository, blob)
    headers = {"Content-Type": OCI_MANIFEST}
    status, _, body = ask(address, "PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, headers)
    assert status == 201, body


class FakeSink:
    """Keeps a layer's blob without looking into it."""

    def __init__(self, layers, digest, size, diff_id):
        self.layers, self.diff_id, self.size = layers, diff_id, size
        self.blob = layers.store.content.ingest(digest, size)
        self.fed = 0

    @property
    def complete(self):
        return self.blob.exists and self.layers.has(self.diff_id)

    @property
    def offset(self):
        return self.blob.offset

    def feed(self, data):
        self.blob.write(data)
        self.fed += len(data)

    def rewind(self):
        self.blob.rewind()

    def commit(self):
        self.blob.commit()
        self.layers.add(self.diff_id, self.blob.digest, self.size)

    def close(self):
        self.blob.close()


class FakeLayers:
    """The part of store.layers that the client uses, over real content."""

    def __init__(self, store):
        self.store = store
        self.sinks = []

    def has(self, diff_id):
        return bool(self.store.db.read("SELECT 1 FROM layers WHERE diff_id = ?", (diff_id,)))

    def add(self, diff_id, digest, size):
        with self.store.db.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO layers (diff_id, driver, size, created) VALUES (?, 'fake', ?, 0)",
                (diff_id, size),
            )
            transaction.execute(
                "INSERT OR REPLACE INTO layer_blobs VALUES (?, ?, ?, ?)", (digest, diff_id, OCI_LAYER, size)
            )

    def ingest(self, digest, size, media_type, diff_id):
        sink = FakeSink(self, digest, size, diff_id)
        self.sinks.append(sink)
        return sink

    def delete(self, diff_id):
        with self.store.db.write() as transaction:
            transaction.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
        return 0

    def compressed(self, diff_id, method, level=None):
        rows = self.store.db.read(
            "SELECT digest, size, media_type FROM layer_blobs WHERE diff_id = ?", (diff_id,)
        )
        return rows[0]


def fake_store(directory):
    store = Store(Paths(f"{directory}/root", f"{directory}/run"))
    store._layers = FakeLayers(store)
    return store


def fill(store, image):
    """Put a sample into a store as if it had been built there."""
    for blob, tar in zip(image.layers, image.tars, strict=True):
        store.layers.add(sha256(tar), store.content.put(blob), len(blob))
    return store.images.add(image.config)


def reference(address, repository="a/b", tag="1"):
    return Reference.parse(f"{address}/{repository}:{tag}")


class Loop:
    """An event loop in a thread, for servers that outlive one call."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.stack = contextlib.AsyncExitStack()
        return self

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def enter(self, manager):
        return self.call(self.stack.enter_async_context(manager))

    def __exit__(self, *error):
        self.call(self.stack.aclose())
        self.call(self._end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(120)
        self.loop.close()

    async def _end_tasks(self):
        """Requests whose client has hung up may still be at work."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_asyncgens()


class Server(Loop):
    """The registry server of a directory, in this process. `log` has its access log."""

    def __init__(self, root, **options):
        self.root, self.options, self.log = root, options, []

    def __enter__(self):
        super().__enter__()
        try:
            self.address = self.enter(
                listening("127.0.0.1:0", str(self.root), log=self.log.append, **self.options)
            )
        except BaseException:
            super().__exit__()
            raise
        return self


@dataclass
class Fault:
    """What happens to the first `times` requests whose method and path match."""

    match: str
    action: str
    value: object = None
    method: str = "GET"
    times: int = 1
    headers: dict = field(default_factory=dict)


class Proxy(Loop):
    """Forwards to a registry, but for the faults.

    `seen` has (method, path, Range, Authorization) of each request.
    """

    def __init__(self, upstream, faults=(), guard=None, tls=None):
        self.upstream, self.faults, self.seen = upstream, list(faults), []
        self.guard, self.tls = guard, tls

    def __enter__(self):
        super().__enter__()
        self.address = self.enter(self._running())
        return self

    @contextlib.asynccontextmanager
    async def _running(self):
        async with aiohttp.ClientSession(auto_decompress=False) as self.session:
            runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls)
            await site.start()
            try:
                yield f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
            finally:
                await runner.cleanup()

    def ranges(self, path):
        """The Range headers of the GETs whose path holds `path`."""
        return [asked for method, where, asked, _ in self.seen if method == "GET" and path in where]

    async def _answer(self, request):
        headers = request.headers
        self.seen.append(
            (request.method, request.path_qs, headers.get("Range"), headers.get("Authorization"))
        )
        if self.guard is not None and (answer := self.guard(request)) is not None:
            return answer
        for fault in self.faults:
            small = fault.action == "break_upload" and (request.content_length or 0) <= fault.value
            hit = fault.match in request.path_qs and fault.method == request.method
            if fault.times > 0 and hit and not small:
                fault.times -= 1
                return await getattr(self, "_" + fault.action)(request, fault)
        return await self._forward(request, {})

    async def _forward(self, request, drop):
        kept = {k: v for k, v in request.headers.items() if k not in ("Host", *drop)}
        body = request.content if request.body_exists else None
        url = f"http://{self.upstream}{request.path_qs}"
        async with self.session.request(
            request.method, url, headers=kept, data=body, allow_redirects=False
        ) as answer:
            passed = {
                k: v for k, v in answer.headers.items() if k not in ("Transfer-Encoding", "Date", "Server")
            }
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            if request.method != "HEAD":
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            await response.write_eof()
            return response

    async def _body(self, request):
        headers = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
        async with self.session.get(f"http://{self.upstream}{request.path_qs}", headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def _start(self, request, count):
        """Send the headers and the first `count` bytes."""
        status, headers, body = await self._body(request)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(body[:count])
        return response

    async def _cut(self, request, fault):
        response = await self._start(request, fault.value)
        await self._taken(request)
        request.transport.close()
        return response

    async def _taken(self, request):
        """Until the client has all that was sent: what it has not read when a connection ends is lost to it."""
        server, client = (request.transport.get_extra_info(name)[1] for name in ("sockname", "peername"))
        quiet = 0
        while quiet < 20:  # its event loop gets as many turns as this one
            await asyncio.sleep(0.005)
            waiting = request.transport.get_write_buffer_size() + unread(server, client)
            quiet = 0 if waiting else quiet + 1

    async def _stall(self, request, fault):
        response = await self._start(request, fault.value)
        await self._hung_up(request)
        return response

    async def _silent(self, request, fault):
        await self._hung_up(request)
        return web.Response()

    async def _hung_up(self, request):
        """Until the client has had enough, however long that takes it."""
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.02)

    async def _flip(self, request, fault):
        status, headers, body = await self._body(request)
        wrong = bytearray(body)
        wrong[fault.value] ^= 1
        return web.Response(status=status, body=bytes(wrong), headers={**headers, **fault.headers})

    async def _longer(self, request, fault):
        status, headers, body = await self._body(request)
        headers["Content-Length"] = str(len(body) + fault.value)
        return web.Response(status=status, body=body + b"x" * fault.value, headers=headers)

    async def _status(self, request, fault):
        return web.Response(status=fault.value, headers=fault.headers, text="{}")

    async def _redirect(self, request, fault):
        await request.read()
        return web.Response(status=fault.headers.get("status", 307), headers={"Location": str(fault.value)})

    async def _whole(self, request, fault):
        """A registry that knows no ranges."""
        return await self._forward(request, {"Range"})

    async def _answer_with(self, request, fault):
        return web.Response(body=fault.value, headers=fault.headers)

    async def _break_upload(self, request, fault):
        """Pass the first `value` bytes of a body on, then hang up on both sides."""
        kept = {k: v for k, v in request.headers.items() if k != "Host"}

        async def part():
            left = fault.value
            while left > 0:
                chunk = await request.content.read(min(left, 65536))
                left -= len(chunk)
                yield chunk
            await asyncio.sleep(0.2)
            raise ConnectionResetError

        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            await self.session.request(
                request.method, f"http://{self.upstream}{request.path_qs}", headers=kept, data=part()
            )
        request.transport.abort()
        return web.Response()


def unread(server, client):
    """Bytes of a loopback connection that the server's kernel has not sent, or the client has not read."""
    found = 0
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            ports = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
            sending, receiving = (int(queue, 16) for queue in queues.split(":"))
            found += sending * (ports == (server, client)) + receiving * (ports == (client, server))
    return found


def wait_for(condition, seconds=120.0):
    """Poll until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def tar_image(files, author="tests"):
    """A sample whose layers are real tars: one for each dict of name -> bytes in `files`."""
    tars = []
    for members in files:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(data), 0o644, 1_700_000_000
                tar.addfile(entry, io.BytesIO(data))
        tars.append(buffer.getvalue())
    made = sample(author, sizes=(), config_extra={"author": author})
    config = json.loads(made.config)
    config["rootfs"]["diff_ids"] = [sha256(tar) for tar in tars]
    layers = [gzip.compress(tar, 1, mtime=0) for tar in tars]
    made.config = json.dumps(config).encode()
    manifest = json.loads(made.manifest)
    manifest["config"] |= {"digest": sha256(made.config), "size": len(made.config)}
    manifest["layers"] = [
        {"mediaType": OCI_LAYER, "digest": sha256(layer), "size": len(layer)} for layer in layers
    ]
    made.manifest = json.dumps(manifest).encode()
    made.layers, made.tars = layers, tars
    return made


@contextlib.contextmanager
def process(arguments, ready, **options):
    """A process that is ended with the block; `ready(line)` tells from its output when it serves."""
    running = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    try:
        for line in running.stdout:
            if found := ready(line):
                break
        else:
            raise AssertionError(f"{arguments[0]} ended: {running.wait()}")
        running.found = found
        drain = threading.Thread(target=running.stdout.read, daemon=True)
        drain.start()
        yield running
    finally:
        running.terminate()
        try:
            running.wait(60)
        finally:
            running.kill()
            running.wait()


SERVE = """
import sys
from estiva.registry.server.server import serve
from estiva.registry.server.config import Config
config = Config(stop_timeout=float(sys.argv[3]))
serve(sys.argv[1], sys.argv[2], ready=lambda address: print(address, flush=True), config=config)
"""


def server_process(root, listen="127.0.0.1:0", stop_timeout=10):
    """Our server in a process of its own; `.found` is its address."""
    arguments = [sys.executable, "-c", SERVE, listen, str(root), str(stop_timeout)]
    return process(arguments, address_of, env={**os.environ, "PYTHONPATH": SOURCE})


def address_of(line):
    assert ":" in line and " " not in line, line
    return line.strip()
