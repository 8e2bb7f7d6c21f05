"""A program with every public name of estiva and estiva.aio in it, for a type checker: it is not run.

See test_typing.py. Whatever is `Any` in it is listed there.
"""

# mypy: disallow-any-expr

import pathlib
import signal
import subprocess
from collections.abc import Iterator

import estiva
from estiva import aio, errors
from estiva.testing import http, service


def heard(stream: str, data: bytes) -> None:
    print(stream, len(data))


def moved(step: estiva.Progress) -> None:
    print(step.id, step.status, step.current, step.total, step.output)


def results(done: estiva.Result) -> tuple[int, bytes, bytes, str, bool, bool]:
    checked = done.check()
    end: estiva.Exit | None = checked.exit
    if end is not None:
        print(end.status, end.meaning, end.signal, end.oom, end.ok)
    return done.status, done.stdout, done.stderr, done.output, done.oom, done.truncated


def boxes() -> None:
    results(estiva.run("alpine", ["id"], input="in", timeout=1, on_output=heard, memory="64m"))
    with estiva.container("alpine", keep=True, network="none") as box:
        commands(box)
        live(box)
        contents(box)
        looks(box)
        with box.fork() as other, estiva.container(box.snapshot("kept", memory=False)) as third:
            print(other.id, third.short_id)
    with estiva.pool("alpine", size=2, warm="import json") as pool:
        filled: estiva.Pool = pool
        with pool.box() as taken:
            results(taken.exec(["id"], env={"A": "1"}, env_file="x"))
            print(pool.ready, pool.size, pool.warm, filled)
        pool.close()


def commands(box: estiva.Container) -> None:
    results(box.exec("id", user=0, workdir="/", privileged=True, max_output=5))
    box.exec_detached(["sleep", "5"], tty=True)
    run: estiva.PythonRun = box.python.run("1", timeout=1, max_output=5).check()
    error: estiva.PythonError | None = run.error
    if error is not None:
        print(error.type, error.message, error.traceback)
    print(run.repr, run.stdout, run.stderr, run.truncated, run.seconds, run.cpu, run.memory)
    box.python.start()
    box.python.close()


def live(box: estiva.Container) -> None:
    with box.popen(["cat"]) as cat:
        plain: estiva.Popen[bytes] = cat
        out, err = cat.communicate(b"in", timeout=1)
        print(out, err, plain.returncode, plain.args, plain.tty, plain.pid, plain.truncated)
        if cat.stdin is not None and cat.stdout is not None and cat.stderr is not None:
            cat.stdin.write(b"x")
            line: bytes = cat.stdout.readline()
            print(line, cat.stderr.read())
    with (
        box.popen("cat", text=True, stderr=subprocess.STDOUT) as words,
        box.popen("cat", encoding="utf-8") as third,
    ):
        said: str | None = words.communicate("in")[0]
        print(said, third.stdout.readline() if third.stdout is not None else "", words.poll(), words.wait(1))
        words.send_signal(signal.SIGTERM)
        words.terminate()
        words.kill()
        words.resize(1, 2)
    with box.attach() as main:
        print(main.communicate(b"x", timeout=1), main.wait(), main.poll(), main.pid, main.returncode)


def contents(box: estiva.Container) -> None:
    box.put(b"x", "/x", mode=0o600)
    data: bytes = box.get("/x")
    files = box.files
    files.write("/x", data, mode=0o600)
    print(files.read("/x", limit=5), files.read_text("/x"), files.exists("/x"))
    found: estiva.FileInfo = files.stat("/x", follow=False)
    print([one.name for one in files.list("/")], found.is_dir, found.is_file, found.permissions, found.size)
    files.mkdir("/d", parents=True)
    files.remove("/d", recursive=True)
    for folder, folders, names in files.walk("/"):
        print(folder.upper(), folders[0].upper(), names[0].upper())
    files.upload(pathlib.Path("x"), "/x")
    files.download("/x", "x")
    with open("tar", "w+b") as tar:
        box.get_archive("/x", tar)
        box.put_archive("/x", tar)
        box.export(tar)
    print([change.path for change in box.diff()], box.commit("a:1", author="me", message="x", pause=True))


def looks(box: estiva.Container) -> None:
    for port in box.ports:
        one: estiva.Port = port
        print(one.host, one.container, one.protocol)
    health: estiva.Health | None = box.health
    print(box.id, box.name, box.status, box.running, box.image, box.labels["a"], box.ip, box.ips["b"])
    print(health.status if health is not None else "", box.exit)
    print(box.inspect()["State"]["Pid"], box.attrs["Id"])  # Any: Docker's shape has parts that are free
    box.reload()
    box.start()
    box.pause()
    box.unpause()
    box.restart(1, signal="TERM")
    box.stop(1)
    box.kill(signal.SIGKILL)
    box.rename("other")
    print(box.update(memory="1g", cpus=1.5), box.why(), box.doctor().problems, box.top("aux").rows[0])
    print(box.anatomy().process_count, estiva.anatomy("alpine"))
    whole: bytes = box.logs(since="10m", tail=5)
    pieces: Iterator[bytes] = box.logs(follow=True)
    lines: list[estiva.LogLine] = list(box.log_lines())
    print(whole, next(pieces), lines[0].stream, lines[0].time, str(lines[0]))
    used: estiva.Stats = box.stats()
    print(used.memory, used.pids, used.cpu_percent, next(box.stats_stream(0.1)).memory)
    print(box.wait(timeout=5, condition="healthy").status)
    box.remove(force=True, volumes=True)


def collections(engine: estiva.Engine) -> None:
    made = engine.containers.create("alpine", "id", name="x")
    results(engine.containers.run("alpine", "id"))
    listed = [
        made,
        engine.containers.run("alpine", detach=True),
        engine.containers.get("x"),
        *engine.containers.list(),
    ]
    print(listed[0].name, engine.containers.prune().removed, engine.containers.prune().freed)
    volume: estiva.Volume = engine.volumes.create("data", labels={"a": "b"})
    print(
        volume.name,
        volume.path,
        volume.created,
        volume.labels["a"],
        volume.options["a"],
        engine.volumes.get("data"),
    )
    print(engine.volumes.list()[0].name, engine.volumes.prune().freed)
    with open("tar", "w+b") as tar:
        volume.export(tar)
        volume.load(tar)
    volume.remove(force=True)
    network: estiva.Network = engine.networks.create("back", internal=True)
    network.connect(made, ip="10.0.0.2", aliases=["db"])
    network.disconnect("x", force=True)
    print(network.id, network.short_id, network.name, network.driver, network.subnets[0], network.internal)
    print(
        network.labels["a"],
        network.containers[0].id,
        engine.networks.get("x").id,
        engine.networks.list()[0].id,
    )
    network.remove(force=True)
    print(engine.networks.prune().removed, engine.networks.reload()[0].upper())
    for event in engine.events(since="10m", filters={"type": "container"}):  # Any: of what is filtered by
        told: estiva.Event = event
        print(told.type, told.action, told.id, told.name, told.attributes["x"], told.time)
    kept: estiva.Snapshot = engine.snapshots.get("kept")
    print(kept.id, kept.name, kept.image, kept.created, kept.size, engine.snapshots.list()[0].id)
    kept.remove()
    print(
        engine.registry.login("me", "x").upper(),
        engine.registry.logout(),
        engine.registry.tags("x")[0].upper(),
    )
    system = engine.system
    print(system.version()["Version"].upper(), system.check().problems, system.prune_build_cache().freed)
    print(system.doctor()[0], system.prune(), system.resume())


def images(engine: estiva.Engine) -> None:
    image: estiva.Image = engine.images.build(".", tag=["a", "b"], build_args={"A": 1}, on_progress=moved)
    print(
        image.id, image.short_id, image.tags[0].upper(), image.digests[0].upper(), image.created, image.size
    )
    image.tag("b")
    image.remove(force=True)
    print(image.labels, image.anatomy(), engine.images.get("a").id, engine.images.list()[0].id)
    print(engine.images.pull("a", on_progress=moved).id, engine.images.push("a").upper())
    print(engine.images.from_host(["sh"]).id, engine.images.import_tar("x").id, engine.images.load("x")[0].id)
    print(
        engine.images.diff("a", "b")[0].path,
        engine.images.copy("a", "b").upper(),
        engine.images.remove("a")[0].upper(),
    )
    engine.images.tag("a", "b")
    engine.images.save(["a"], "x")
    image.save("x")
    print(engine.images.prune(all=True).freed)
    with engine.images.pulling("a") as work:
        for step in work:
            moved(step)
        print(work.result().id)
    with engine.images.building(".") as building, engine.images.pushing("a") as pushing:
        print(building.result().id, pushing.result().upper())
    lists = engine.images.manifests
    print(
        lists.create("l", ["a"]),
        lists.add("l", "b")[0].upper(),
        lists.take("l", "b"),
        lists.exists("l"),
        lists.list(),
    )
    print(lists.annotate("l", "b", os_version="1"), lists.push("l"), lists.remove("l"))
    print(
        estiva.pull("a").upper(),
        estiva.push("a").upper(),
        estiva.build(None, dockerfile_text="FROM a").upper(),
    )


def wrong() -> None:
    try:
        boxes()
    except estiva.CommandTimeout as error:
        print(error.output.upper(), error.stdout, error.stderr, error.truncated)
    except estiva.StillRunning as error:
        print(error.hint.upper())
    except estiva.BuildError as error:
        print(error.log.upper(), error.step.upper(), error.line, error.status)
    except (errors.NotFound, errors.Conflict) as error:
        print(error.message.upper())
    except estiva.EstivaError as error:
        print(error.message.upper(), error.hint.upper())


async def later() -> None:
    results(await aio.run("alpine", ["id"], timeout=1, on_output=heard))
    async with aio.container("alpine", network="none") as box:
        same: aio.Container = box
        results(await same.exec("id", env={"A": "1"}))
        await box.exec_detached(["sleep", "5"])
        run = await box.python.run("1", timeout=1)
        print(
            run.check().stdout,
            await box.status,
            await box.running,
            await box.name,
            await box.ip,
            (await box.ips)["a"],
        )
        await box.python.start()
        await box.python.close()
        print(
            (await box.ports)[0].host,
            await box.health,
            await box.exit,
            (await box.labels)["a"],
            await box.image,
        )
        print(
            box.id,
            box.short_id,
            (await box.top()).rows,
            (await box.stats()).memory,
        )
        print(
            (await box.anatomy()).process_count,
            await box.why(),
            (await box.doctor()).notes,
            (await box.diff())[0].path,
        )
        print((await box.inspect())["Id"])  # Any: as above
        await aio_streams(box)
        await aio_life(box)
        kept: aio.Snapshot = await box.snapshot("kept")
        print(kept.id, kept.name, kept.image, kept.created, await kept.size)
        async with box.fork() as other, aio.container(kept) as third:
            print(other.id, third.id)
        await kept.remove()
    async with aio.pool("alpine", size=2, warm="import json") as pool, pool.box() as taken:
        filled: aio.Pool = pool
        print(filled.size, filled.ready, filled.warm, (await taken.exec("id")).output)
    opened = await aio.pool("alpine")
    await opened.close()
    print(
        (await aio.anatomy("alpine")),
        (await aio.pull("a")).upper(),
        (await aio.push("a")).upper(),
        await aio.build("."),
    )


async def aio_streams(box: aio.Container) -> None:
    async with box.popen(["cat"], limit=5) as cat:
        same: aio.Popen = cat
        out, err = await same.communicate(b"x")
        print(out, err, cat.returncode, cat.pid, await cat.wait())
        if cat.stdin is not None and cat.stdout is not None:
            cat.stdin.write(b"x")
            print(await cat.stdout.readline())
        cat.send_signal(15)
        cat.terminate()
        cat.kill()
        cat.resize(1, 2)
    async with box.attach() as main:
        print(await main.communicate(b"x"), await main.wait())
    async for piece in box.logs(follow=True):
        print(piece.upper())
    async for line in box.log_lines():
        print(line.stream)
    async for used in box.stats_stream(0.1):
        print(used.memory)
    async for _, _, names in box.files.walk("/"):
        print(names[0].upper())
    print((await box.logs()).upper(), await box.files.read("/x"), (await box.files.read_text("/x")).upper())
    print(
        await box.files.exists("/x"), (await box.files.list("/"))[0].name, (await box.files.stat("/x")).size
    )
    await box.files.write("/x", b"x")
    await box.files.mkdir("/d")
    await box.files.remove("/d")
    await box.files.upload("x", "/x")
    await box.files.download("/x", "x")
    await box.put(b"x", "/x")
    print((await box.get("/x")).upper(), (await box.commit("a:1")).upper())
    with open("tar", "w+b") as tar:
        await box.get_archive("/x", tar)
        await box.put_archive("/x", tar)
        await box.export(tar)


async def aio_life(box: aio.Container) -> None:
    await box.reload()
    await box.start()
    await box.pause()
    await box.unpause()
    await box.restart(1)
    await box.stop(1)
    await box.kill("TERM")
    await box.rename("x")
    print((await box.update(memory="1g"))[0].upper(), (await box.wait(timeout=1)).status)
    await box.remove(force=True)


async def aio_collections(engine: aio.Engine) -> None:
    made = await engine.containers.create("alpine", "id")
    started = await engine.containers.run("alpine", detach=True)
    results(await engine.containers.run("alpine", "id"))
    print(made.id, started.id, (await engine.containers.get("x")).id, (await engine.containers.list())[0].id)
    volume: aio.Volume = await engine.volumes.create("data")
    print(volume.name, volume.path, volume.labels["a"], (await engine.volumes.list())[0].name)
    await volume.remove()
    network: aio.Network = await engine.networks.create("back")
    await network.connect(made, aliases=["db"])
    await network.disconnect(made)
    print(network.id, network.subnets[0], (await network.containers())[0].id)
    image: aio.Image = await engine.images.build(".")
    print(
        image.id,
        image.tags[0].upper(),
        (await engine.images.pull("a")).id,
        (await engine.images.list())[0].id,
    )
    work: aio.Work[aio.Image] = engine.images.pulling("a")
    async with work, engine.images.building(".") as building, engine.images.pushing("a") as pushing:
        async for step in work:
            moved(step)
        print((await building.result()).id, (await pushing.result()).upper(), (await work.result()).id)
    async for event in engine.events(until="1m"):
        print(event.name.upper())
    print((await engine.snapshots.list())[0].id, (await engine.snapshots.get("x")).id)
    print(
        (await engine.registry.login("me", "x")).upper(), (await engine.system.version())["Version"].upper()
    )


def tested() -> None:
    with service("alpine", ports=80) as made, http("alpine") as web:
        print(made.port(80), made.box.id, web.url.upper(), estiva.__version__.upper())
