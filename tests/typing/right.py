"""What a type checker takes: see tests/unit/sdk/test_typing.py."""

import pathlib
import subprocess
from collections.abc import Iterator
from typing import assert_type

import estiva
from estiva import aio, testing

engine = estiva.Engine(pathlib.Path("/a"), "/b")
assert_type(estiva.run("box", "id -u", memory="64m", cpus=1.5, env={"A": 1, "B": None}), estiva.Result)
for data in (b"x", bytearray(b"x"), memoryview(b"x"), "x"):
    estiva.run("box", ["cat", pathlib.Path("/x")], input=data, engine=engine)
estiva.run("box", on_output=lambda stream, data: print(stream.upper(), data.hex()), timeout=3)
estiva.run("box", volumes={pathlib.Path("/a"): "/b", "data": {"bind": "/c", "mode": "ro"}}, tmpfs=["/t"])
estiva.run("box", volumes=["data:/data:ro"], ports={80: 8080, "53/udp": None, 443: ("127.0.0.1", 8443)})
estiva.run("box", ports=["8080:80", 90], ulimits={"nofile": (1, 2), "core": 0}, user=1000, dns="10.0.0.1")
estiva.run("box", network={"net": {"ip": "10.0.0.2", "aliases": ["db"]}, "other": None}, pull="never")
estiva.run("box", memory=None, env=["A=1"], labels=["a", "b=c"], health_interval="5s", health_timeout=1.5)
plain: dict[str, str] = {}
with estiva.container("box", keep=True, hostname="h") as box:
    assert_type(box, estiva.Container)
    assert_type(box.exec(["true"], env={"A": None}, input=bytearray(b"x")).status, int)
    box.exec("true", env=plain)
    box.exec(["true"], env=["A=1"], input=memoryview(b"x"))
    box.put(bytearray(b"x"), "/x")
    assert_type(box.logs(), bytes)
    assert_type(box.logs(follow=True), Iterator[bytes])
    assert_type(box.wait(timeout=1).signal, int)
    assert_type(box.ports[0].host, int)
    assert_type(box.files.list("/")[0], estiva.FileInfo)
    box.update(memory="1g", restart="always")
    with box.popen(["cat"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as command:
        assert_type(command.wait(), int)
    health = box.health
    if health is not None:
        assert_type(health.status, str)
assert_type(engine.containers.run("box"), estiva.Result)
assert_type(engine.containers.run("box", detach=True, auto_remove=True), estiva.Container)
assert_type(engine.containers.create("box", tty=True, interactive=True), estiva.Container)
assert_type(engine.containers.list(all=True, filters={"label": ["a"]}), list[estiva.Container])
assert_type(engine.images.build(".", tag=["a", "b"], build_args={"A": 1}, secrets={"s": b"x"}), estiva.Image)
assert_type(engine.images.pulling("box").result(), estiva.Image)
for step in engine.images.building(".", target="x"):
    assert_type(step, estiva.Progress)
assert_type(estiva.build(None, dockerfile_text="FROM scratch\n"), str)
assert_type(engine.volumes.create("data"), estiva.Volume)
assert_type(engine.networks.create("net", subnet="10.0.0.0/24"), estiva.Network)
for event in engine.events(since="10m"):
    assert_type(event, estiva.Event)
try:
    estiva.build(".")
except estiva.BuildError as error:
    assert_type(error.log, str)


async def later() -> None:
    assert_type(await aio.run("box", "id -u", memory="64m", env={"A": 1}), estiva.Result)
    async with aio.container("box", keep=True, hostname="h") as box:
        assert_type(box, aio.Container)
        assert_type((await box.exec(["true"], env={"A": None}, env_file="x", timeout=1)).status, int)
        assert_type(await box.status, str)
        assert_type((await box.ports)[0].host, int)
        assert_type(await box.logs(), bytes)
        async for piece in box.logs(follow=True):
            assert_type(piece, bytes)
        async for line in box.log_lines(tail=1):
            assert_type(line, estiva.LogLine)
        async with box.popen(["cat"], stderr=subprocess.STDOUT) as cat:
            assert_type(cat, aio.Popen)
            assert_type(await cat.wait(), int)
        shell = await box.popen("sh", tty=True, size=(1, 2))
        if shell.stdout is not None:
            assert_type(await shell.stdout.read(), bytes)
        assert_type((await box.wait(timeout=1)).signal, int)
        assert_type(await box.files.read_text("/x"), str)
        assert_type((await box.files.list("/"))[0], estiva.FileInfo)
        async for _, _, names in box.files.walk("/"):
            assert_type(names, list[str])
        await box.put(b"x", "/x", mode=0o600)
        await box.update(memory="1g")
        async with box.attach() as main:
            assert_type(await main.communicate(), tuple[bytes, bytes])
    later = aio.Engine("/a", pathlib.Path("/b"))
    assert_type(await later.containers.run("box", detach=True), aio.Container)
    assert_type(await later.containers.list(all=True), list[aio.Container])
    assert_type(await later.images.pull("box"), aio.Image)
    async with later.images.building(".", target="x") as work:
        async for step in work:
            assert_type(step, estiva.Progress)
        assert_type((await work.result()).tags, tuple[str, ...])
    assert_type((await later.volumes.create("data", labels={"a": "b"})).path, str)
    assert_type((await later.networks.get("net")).internal, bool)
    async for event in later.events(since="10m"):
        assert_type(event, estiva.Event)


with testing.service("box", ports=80, wait=[testing.port(80), testing.log("x")], memory="1g") as made:
    assert_type(made.port(80), int)
    assert_type(made.box, estiva.Container)
with testing.postgres(username="me", shm_size="1g") as db:
    assert_type(db.url, str)
with made.box.attach() as main:
    assert_type(main.communicate(b"x", timeout=1), tuple[bytes, bytes])
assert_type(engine.images.manifests.create("list", ["a"]), str)
