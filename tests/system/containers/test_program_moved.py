"""Programs as docker-py's users write them, moved over by the table of docs/python.md word by word."""

import pytest

from enginekit import host
from killkit import assert_nothing_left


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_nothing_left(made)


def test_run_with_its_logs_as_a_stream(box):
    out = box.python(
        """
import estiva
engine = estiva.Engine()
print(engine.containers.run("box:1", ["echo", "hello", "world"], network="none").stdout)
container = engine.containers.run("box:1", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True, network="none",
    env={"A": "1"}, labels=["moved"], memory="128m", name="splines")
for line in container.logs(follow=True):
    print(line.strip())
print(container.wait().status, container.attrs["Config"]["Image"], container.logs())
print([each.name for each in engine.containers.list(all=True, filters={"label": "moved"})])
container.stop(timeout=0)
container.remove(volumes=True, force=True)
gone = engine.containers.run("box:1", "sleep 100", detach=True, auto_remove=True, network="none")
gone.stop(timeout=0)
try: engine.containers.get(gone.id)
except estiva.errors.NotFound as error: print("gone")
"""
    )
    assert out.splitlines() == [
        "b'hello world\\n'", "b'1'", "b'2'", "b'3'", "0 box:1 b'1\\n2\\n3\\n'", "['splines']", "gone",
    ]  # fmt: skip


def test_build_run_exec_and_archives(box):
    out = box.python(
        """
import io, pathlib, tarfile, tempfile, estiva
engine = estiva.Engine()
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "Dockerfile").write_text("FROM box:1\\nARG who\\nRUN echo hello $who | tee /greeting\\n")
with engine.images.building(str(folder), tag="moved:1", build_args={"who": "you"}, network="none") as work:
    for step in work:
        if step.output: print(step.output)
    image = work.result()
print(image.tags, image.id == engine.images.get("moved:1").id)
container = engine.containers.run(image, "sleep 1000", detach=True, network="none",
    volumes={str(folder): {"bind": "/mnt", "mode": "ro"}}, ports={"2222/tcp": None})
done = container.exec("cat /greeting", workdir="/", user="nobody", env=["A=1"])
print(done.status, done.output.strip())
for line in container.popen(["sh", "-c", "echo 1; echo 2"]).stdout: print(line)
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    entry = tarfile.TarInfo("note")
    entry.size = 4
    archive.addfile(entry, io.BytesIO(b"note"))
container.put_archive("/tmp", tar.getvalue())
with open(folder / "back.tar", "w+b") as back:
    container.get_archive("/tmp/note", back)
with tarfile.open(folder / "back.tar") as archive: print(archive.extractfile("note").read(), container.files.stat("/tmp/note").size)
container.commit("moved:2")
print(estiva.run(engine.images.get("moved:2"), ["cat", "/tmp/note"], network="none").output)
container.remove(force=True)
with estiva.container(image, network="none") as one, estiva.pool(image, size=1, network="none") as pool, pool.box() as other:
    print(one.exec("cat /greeting").output == other.exec("cat /greeting").output)
import asyncio
from estiva import aio
async def later():
    found = await aio.Engine().images.get("moved:1")
    return (await aio.run(found, "cat /greeting", network="none")).output + (await aio.Engine().containers.run(found, "id -u", network="none")).output
print(asyncio.run(later()).split())
try: estiva.run(5, "true")
except estiva.errors.InvalidInput as error: print(error)
for name in ("moved:2", "moved:1"): engine.images.remove(name)
"""
    )
    assert out.splitlines() == [
        "b'hello you\\n'", "('moved:1',) True", "0 hello you", "b'1\\n'", "b'2\\n'", "b'note' 4", "note", "True",
        "['hello', 'you', '0']", "image must be text, not 5",
    ]  # fmt: skip


def test_a_loop_of_events_and_stats(box):
    out = box.python(
        """
import estiva
engine = estiva.Engine()
events = engine.events(filters={"type": "container"})
container = engine.containers.run("box:1", "sleep 1000", detach=True, network="none", name="watched")
for event in events:
    if event.action == "start": break
print(event.type, event.id == container.id, event.attributes["name"], event.time > 0)
for number, stats in enumerate(container.stats_stream(0.1)):
    print(stats.memory > 0, stats["memory"]["usage"] >= 0, stats.memory_limit > 0, stats.cpu_percent >= 0, stats.pids)
    if number == 1: break
print(container.stats().memory_percent >= 0)
container.kill()
for event in events:
    if event.action == "die": break
print(event.attributes["exitCode"])
container.remove()
events.close()
print(engine.containers.prune().removed, engine.system.version()["Version"] == estiva.__version__)
"""
    )
    assert out.splitlines() == [
        "container True watched True", "True True True True 1", "True True True True 1", "True", "137", "() True",
    ]  # fmt: skip
