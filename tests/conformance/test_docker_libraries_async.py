"""aiodocker, as programs with asyncio use it: streams, websockets, many tasks, cancelled ones."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

import bundle
from apikit import IMAGE, Api, serving
from librarykit import LOGIN, WAITS, archive, registry_of

aiodocker = pytest.importorskip("aiodocker")

pytestmark = [bundle.requires_kernel]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def alone(api: Api) -> Iterator[None]:
    """What a test has made goes with it."""
    yield
    if made := api.out("ps", "-aq").split():
        api.estiva("rm", "-f", *made)


def play(api: Api, work: Any) -> Any:
    """`work` with a client, within a minute."""

    async def main() -> Any:
        async with asyncio.timeout(60), aiodocker.Docker(f"unix://{api.socket}") as made:
            return await work(made)

    return asyncio.run(main())


CONFIG: dict[str, Any] = {"Image": IMAGE, "Cmd": WAITS}


def test_containers(api: Api) -> None:
    async def work(made: Any) -> None:
        one = await made.containers.create_or_replace("one", CONFIG)
        await one.start()
        assert (await made.containers.list())[0].id == one.id
        following = one.log(stdout=True, follow=True)
        assert await anext(following) == "up\n"
        await following.aclose()
        assert await one.log(stdout=True) == ["up\n"]
        assert (await one.stats(stream=False))[0]["id"] == one.id
        async for each in one.stats():
            assert each["name"] == "/one"
            break
        ran = await one.exec("sh -c 'cat; exit 3'", stdin=True)
        async with ran.start() as stream:
            await stream.write_in(b"in\n")
            assert (await stream.read_out()) == (1, b"in\n")
        await one.put_archive("/tmp", archive(put=b"content"))
        assert (await one.get_archive("/tmp")).extractfile("tmp/put").read() == b"content"
        assert (await one.top())["Titles"][-1] == "CMD"
        await one.rename("two")
        await one.pause()
        assert (await one.show())["State"]["Status"] == "paused"
        await one.unpause()
        await one.restart(t=5)
        await one.commit(repository="kept", tag="1", changes=["CMD echo kept"])
        await one.stop(t=5)
        assert (await one.wait())["StatusCode"] == 0
        await one.delete()
        with pytest.raises(aiodocker.exceptions.DockerError) as gone:
            await one.show()
        assert gone.value.status == 404
        last = await made.containers.run({"Image": "kept:1"}, name="last")
        await last.wait()
        assert await last.log(stdout=True) == ["kept\n"]
        assert (await made.containers.prune())["ContainersDeleted"] == [last.id]

    play(api, work)


def test_attached_streams_and_websockets(api: Api) -> None:
    async def work(made: Any) -> None:
        config = {"Image": IMAGE, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
        one = await made.containers.create(config)
        stream = one.attach(stdin=True, stdout=True, stderr=True)
        async with stream:
            await one.start()
            await stream.write_in(b"by stream\n")
            assert (await stream.read_out()) == (1, b"by stream\n")
        assert (await one.wait())["StatusCode"] == 0
        two = await made.containers.run({**config, "StdinOnce": False, "Tty": True})
        sock = await two.websocket(stdin=True, stdout=True, stream=True)
        assert sock.protocol == "chat"  # which it names
        await sock.send_bytes(b"by websocket\n")
        got = b""
        while b"by websocket\r\nby websocket\r\n" not in got:
            got += (await sock.receive()).data
        await sock.close()
        again = await two.websocket(stdin=True, stdout=True, stream=True)
        await two.kill()
        assert (await again.receive()).type.name in ("CLOSE", "CLOSED", "CLOSING")
        await again.close()

    play(api, work)


def test_images_networks_volumes_and_events(api: Api) -> None:
    async def work(made: Any) -> None:
        heard = made.events.subscribe(filters='{"type": ["image", "network"]}')
        context = io.BytesIO(archive(Dockerfile=b"FROM box:1\nRUN echo it > /it\n"))
        told = await made.images.build(fileobj=context, tag=f"{registry}/public/aio:1", encoding="identity")
        assert any("Successfully tagged" in one.get("stream", "") for one in told)
        name = f"{registry}/public/aio"
        async for _ in made.images.push(name, tag="1", auth=LOGIN, stream=True):
            pass
        before = (await made.images.inspect(f"{name}:1"))["Id"]
        async with made.images.export_image(f"{name}:1") as exported:
            data = await exported.read()
        await made.images.delete(f"{name}:1")
        await made.images.pull(name, tag="1")
        assert (await made.images.inspect(f"{name}:1"))["Id"] == before
        assert [one async for one in made.images.import_image(data, stream=True)]
        assert len(await made.images.history(f"{name}:1")) == 2
        network = await made.networks.create({"Name": "aio"})
        one = await made.containers.create(CONFIG)
        await network.connect({"Container": one.id})
        await network.disconnect({"Container": one.id})
        assert await network.delete()
        volume = await made.volumes.create({"Name": "aio"})
        assert (await volume.show())["Driver"] == "local"
        await volume.delete()
        actions = []
        while "destroy" not in actions:
            actions.append((await heard.get())["Action"])
        assert {"tag", "push", "pull", "create", "disconnect", "destroy"} <= set(actions)
        assert (await made.system.info())["Images"] >= 2 and (await made.version())["ApiVersion"]
        assert (await made.auth(**LOGIN, serveraddress=registry))["Status"] == "Login Succeeded"

    with registry_of(api) as registry:
        play(api, work)


def test_tasks_side_by_side_and_cancelled_ones(api: Api) -> None:
    async def work(made: Any) -> None:
        one = await made.containers.run(CONFIG)

        async def run(number: int) -> list[str]:
            own = await made.containers.run({"Image": IMAGE, "Cmd": ["echo", str(number)]})
            await own.wait()
            return await own.log(stdout=True)

        async def forever(stream: AsyncIterator[Any]) -> None:
            async for _ in stream:
                pass

        waiting: list[Coroutine[Any, Any, Any]] = [one.wait(), forever(one.stats())]
        waiting += [forever(one.log(stdout=True, follow=True)) for _ in range(20)]
        tasks = [asyncio.create_task(each) for each in waiting]
        done = await asyncio.gather(*(run(number) for number in range(12)))
        assert done == [[f"{number}\n"] for number in range(12)]
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*tasks, return_exceptions=True)
        )
        async with asyncio.timeout(20):
            await one.delete(force=True)
        assert len(await made.containers.list(all=True)) == 12

    play(api, work)
