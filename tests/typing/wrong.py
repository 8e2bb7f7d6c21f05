"""What a type checker refuses, a line each: see tests/unit/sdk/test_typing.py."""

import estiva
from estiva import aio, testing

estiva.run("box", memory=[])  # type: ignore[arg-type]
estiva.run("box", memroy="1g")  # type: ignore[call-arg]
estiva.run("box", mem_limit="1g")  # type: ignore[call-arg]
estiva.run("box", pull="sometimes")  # type: ignore[arg-type]
estiva.run("box", privileged="yes")  # type: ignore[arg-type]
estiva.run("box", auto_remove=True)  # type: ignore[call-arg]
estiva.run("box", volumes={"a": {"bnd": "/b"}})  # type: ignore[dict-item]
estiva.run("box", env={"A": object()})  # type: ignore[dict-item]
estiva.run("box", on_output=lambda data: None)  # type: ignore[misc, arg-type]
estiva.run(5)  # type: ignore[arg-type]
estiva.container("box", network=5)  # type: ignore[arg-type]
estiva.build(".", buildargs={})  # type: ignore[call-arg]
estiva.build(".", secrets={"a": 5})  # type: ignore[dict-item]
engine = estiva.Engine(root=5)  # type: ignore[arg-type]
engine.containers.run("box", detach=True, timeout=3)  # type: ignore[call-overload]
engine.containers.create("box", "true", input=b"")  # type: ignore[call-arg]
with estiva.container("box") as box:
    box.update(privileged=True)  # type: ignore[call-arg]
    box.exec(["true"], timeout="soon")  # type: ignore[arg-type]
    box.logs(tail="some")  # type: ignore[call-overload]
    box.stats().memory = 5  # type: ignore[misc]
    print(box.exit.status)  # type: ignore[union-attr]


async def later() -> None:
    await aio.run("box", memroy="1g")  # type: ignore[call-arg]
    await aio.run("box", memory=[])  # type: ignore[arg-type]
    with aio.container("box"):  # type: ignore[attr-defined]
        pass
    async with aio.container("box", network=5) as box:  # type: ignore[arg-type]
        print(box.status.upper())  # type: ignore[attr-defined]
        await box.put("x")  # type: ignore[call-arg]
        await box.update(privileged=True)  # type: ignore[call-arg]
        await box.exec(["true"], timeout="soon")  # type: ignore[arg-type]
        await box.files.read(5)  # type: ignore[arg-type]
    await aio.Engine().images.get(5)  # type: ignore[arg-type]


testing.service("box", wait=5)  # type: ignore[arg-type]
testing.redis(memroy="1g")  # type: ignore[call-arg]
