"""estiva.aio, in programs of their own; and whatever ends their tasks, loops and themselves: nothing stays."""

import random
import subprocess
import time

import pytest

from aiokit import BEGIN, gone
from enginekit import CHECKOUT, host
from killkit import assert_well


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def test_snapshots_and_forks(box):
    out = box.python(
        BEGIN
        + """
async def main():
    async with aio.container("box:1", network="none") as first:
        await first.files.write("/note", b"one")
        kept = await first.snapshot("kept")
        print(kept.name, await kept.size > 0, [each.name for each in await aio.Engine().snapshots.list()])
        await first.files.write("/note", b"two")
        async with first.fork() as other, first.fork() as third:
            await other.files.write("/note", b"three")
            print(await other.files.read("/note"), await third.files.read("/note"))
        async with aio.container(kept, network="none") as again:
            print(await again.files.read("/note"), (await again.anatomy()).kind)
        print((await aio.run(kept, ["cat", "/note"], network="none")).output)
        task = asyncio.create_task(first.fork().__aenter__())
        await asyncio.sleep(random.random() / 20)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError): await task  # or it was there before
        await kept.remove()
asyncio.run(main())
"""
    )
    assert out.splitlines() == ["kept True ['kept']", "b'three' b'two'", "b'one' container", "one"]
    gone(box)


def test_commands_and_their_streams(box):
    out = box.python(
        BEGIN
        + """
async def main():
    r = await aio.run("box:1", ["sh", "-c", "id -u; echo err >&2; exit 3"], network="none")
    print(r.status, r.stdout, r.stderr)
    heard = []
    r = await aio.run("box:1", "cat", input=b"x" * 300000, network="none", max_output=10, on_output=lambda *each: heard.append(each))
    print(r.stdout, r.truncated, sum(len(data) for _, data in heard), {name for name, _ in heard})
    try:
        await aio.run("box:1", ["sh", "-c", "echo begun; sleep 60"], timeout=1, network="none")
    except estiva.CommandTimeout as error:
        print(error.output)
    for words in (["no-such"], "true"):
        try:
            print((await aio.run("box:1" if words != "true" else "none:1", words, network="none", pull="never")))
        except estiva.EstivaError as error:
            print(type(error).__name__)
    def wrong(*each): raise KeyError("mine")
    try:
        await aio.run("box:1", ["echo", "x"], network="none", on_output=wrong)
    except KeyError as error:
        print(error)
    async with aio.container("box:1", network="none", name="one") as made:
        print(await made.name, await made.status, (await made.exec("cat", input="in")).output)
        async with made.popen("cat") as cat:
            print(await cat.communicate(b"through"), cat.returncode)
        shell = await made.popen(["sh", "-c", "echo a; read x; echo $x; echo e >&2; exit 4"])
        print(await shell.stdout.readline())
        shell.stdin.write(b"line\\n")
        print(await shell.stdout.read(), await shell.stderr.read(), await shell.wait())
        tty = await made.popen(["sh", "-c", "stty size; sleep 60"], tty=True, size=(30, 100))
        print(await tty.stdout.readline(), tty.returncode)
        tty.kill()
        print(await tty.wait(), tty)
        endless = await made.popen("yes")
        print(await endless.stdout.read(1))
        endless.terminate()
        print((await endless.communicate(max_output=5))[1], endless.returncode)
        async with made.popen(["seq", "100000"]) as long:
            print((await long.communicate(max_output=5))[0], long.truncated, long.returncode)
        await made.exec_detached(["touch", "/there"])
        while not await made.files.exists("/there"): pass
asyncio.run(main())
"""
    )
    assert out.splitlines() == [
        "3 b'0\\n' b'err\\n'",
        "b'xxxxxxxxxx' True 300000 {'stdout'}",
        "begun",
        "",
        "CommandNotFound",
        "NotFound",
        "'mine'",
        "one running in",
        "(b'through', b'') 0",
        "b'a\\n'",
        "b'line\\n' b'e\\n' 4",
        "b'30 100\\r\\n' None",
        "137 <estiva.aio.Popen returncode=137 args=['sh', '-c', 'stty size; sleep 60']>",
        "b'y'",
        "b'' 143",
        "b'1\\n2\\n3' True 0",
    ]
    gone(box)


def test_the_engine_and_what_it_streams(box):
    out = box.python(
        BEGIN
        + """
async def main():
    engine = aio.Engine()
    events = engine.events(filters={"type": "container", "event": ["start", "die"]})
    job = await engine.containers.create("box:1", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 2"], network="none", name="job")
    print(await job.status, job == await engine.containers.get("job"))
    waiting = asyncio.create_task(job.wait(condition="next-exit"))
    await asyncio.sleep(0)
    await job.start()
    print((await anext(events)).name, [str(line) async for line in job.log_lines(follow=True)])
    print((await job.wait()).status, (await waiting).status, await job.logs(), (await anext(events)).action)
    await events.aclose()
    try:
        print([line async for line in job.log_lines(tail="x")])
    except estiva.EstivaError as error:
        print(error)
    await job.start()
    await asyncio.gather(job.pause(), return_exceptions=True)
    await job.stop(0)
    try:
        async with await engine.containers.create("box:1", "sleep 100", network="none") as other:
            await other.start()
            async for used in other.stats_stream(0.01):
                print(used.pids)
                break
            await other.wait(timeout=0.1)
    except estiva.StillRunning as error:
        print("still runs")
    print(await other.running)
    await job.remove()
    volume = await engine.volumes.create("data")
    net = await engine.networks.create("back", internal=True)
    async with aio.container("box:1", network="back", volumes={"data": "/data"}) as made:
        await made.files.write("/data/x", "y")
        print([name async for name in made.files.walk("/data")], await net.containers() == [made], bool(await made.ip))
        await net.disconnect(made)
        await net.connect(made, aliases=["db"])
    await net.remove(); await volume.remove()
    image = await engine.images.build(None, dockerfile_text="FROM box:1\\nRUN echo said\\n", network="none", tag="said:1",
        on_progress=lambda step: step.output and print(step.output))
    print(image.tags, image == await engine.images.get("said:1"), len(await engine.images.list()))
    try:
        await aio.build(None, dockerfile_text="FROM box:1\\nRUN echo out; exit 3\\n", network="none")
    except estiva.BuildError as error:
        print(repr(error.log))
    building = asyncio.create_task(aio.build(None, dockerfile_text="FROM box:1\\nRUN echo more; sleep 1000\\n", network="none"))
    await asyncio.sleep(1)
    building.cancel()
    print(*await asyncio.gather(building, return_exceptions=True), type(building.exception() if not building.cancelled() else None))
    await image.remove()
    print(await engine.containers.list(all=True))
    kept = await engine.containers.run("box:1", "sleep 100", detach=True, network="none")
    await kept.remove(force=True)
asyncio.run(main())
"""
    )
    assert out.splitlines() == [
        "created True",
        "job ['1\\n', '2\\n', '3\\n']",
        "2 2 b'1\\n2\\n3\\n' die",
        "tail must be a whole number from 0, not 'x'",
        "1",
        "still runs",
        "False",
        "[('/data', [], ['x'])] True True",
        "b'said\\n'",
        "('said:1',) True 2",
        "'out\\n'",
        " <class 'NoneType'>",
        "[]",
    ]
    gone(box)


def test_many_in_one_loop(box):
    out = box.python(
        BEGIN
        + """
async def main():
    gate = asyncio.Semaphore(8)
    async def one(number):
        async with gate, aio.container("box:1", network="none") as made:
            assert (await made.exec(["echo", number])).output == f"{number}\\n"
            assert threads() <= 5
    await asyncio.gather(*(one(str(number)) for number in range(8)))
    before = fds()
    await asyncio.gather(*(one(str(number)) for number in range(20)))
    print(fds() - before < 4, threads() <= 5)
    async def held():  # all at once, each with four that wait
        async with aio.container("box:1", network="none") as made:
            ends = [made.wait(), made.exec("sleep 100"), made.exec("sleep 100")]
            ends.append(anext(made.log_lines(follow=True), None))
            waiting = [asyncio.ensure_future(end) for end in ends]
            await asyncio.sleep(3)
            print(threads() <= 5)
            await made.kill()
            print((await waiting[0]).status)
            await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(*(held() for _ in range(8)))
asyncio.run(main())
"""
    )
    assert sorted(out.split()) == ["137"] * 8 + ["True"] * 10
    gone(box)


CANCELLED = """
engine = aio.Engine()
async def boxed():
    async with aio.container("box:1", network="none") as made:
        await made.exec(["sh", "-c", "sleep 1000 & exec sleep 0.02"])
        async with made.popen("cat") as cat:
            await cat.communicate(b"x" * 100000)
        async with asyncio.timeout(5):
            await made.exec(["sh", "-c", "sleep 1000 & sleep 1000"])
async def ran():
    await aio.run("box:1", ["sh", "-c", "sleep 1000 & cat; exec sleep 1000"], input=b"x" * 500000, network="none")
async def created():
    async with await engine.containers.create("box:1", "sleep 1000", network="none") as made:
        await made.start()
        async for line in made.log_lines(follow=True): pass
"""


@pytest.mark.parametrize("seed", range(2))
def test_tasks_that_are_cancelled_at_any_moment(box, seed):
    out = box.python(
        BEGIN
        + CANCELLED
        + f"""
async def main():
    rng = random.Random({seed})
    async with aio.container("box:1", network="none") as shared:
        async def shared_exec():
            await shared.exec(["sh", "-c", "sleep 1000 & exec sleep 1000"], input=b"abc")
        async def shared_popen():
            async with shared.popen(["sh", "-c", "sleep 1000 & exec sleep 1000"]) as command: await command.wait()
        for number in range(60):
            task = asyncio.create_task(rng.choice([boxed, ran, created, shared_exec, shared_popen])())
            await asyncio.sleep(rng.random() ** 2 * 0.3)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0 if rng.random() < 0.5 else 0.01)
            assert task.cancelled(), "".join(traceback.format_exception(task.exception()))
            if number == 40: before = fds()
        print((await shared.exec("ps")).output.count("sleep"), fds() - before < 20, threads() <= 9)  # 2 of the database for each of 8 threads
    others = [each for each in await aio.Engine().containers.list(all=True) if await each.status != "created"]
    print(others)
    for each in await aio.Engine().containers.list(all=True): await each.remove(force=True)
asyncio.run(main())
"""
    )
    assert out.splitlines() == ["0 True True", "[]"]
    gone(box)
    assert_well(box)


ENDS = {
    "closed": "loop = asyncio.new_event_loop(); tasks = [loop.create_task(each()) for each in (boxed, ran, held)]\n"
    "loop.run_until_complete(asyncio.sleep(1)); loop.close(); del tasks; gc.collect()\n"
    "while estiva.Engine().containers.list(): pass\nprint('ended')",
    "interrupted": "signal.setitimer(signal.ITIMER_REAL, 1); signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))\n"
    "try: asyncio.run(all_of())\nexcept KeyboardInterrupt: print(len(estiva.Engine().containers.list()) or 'ended')",
    "raised": "signal.signal(signal.SIGALRM, lambda *_: sys.exit(5)); signal.setitimer(signal.ITIMER_REAL, 1)\n"
    "loop = asyncio.new_event_loop(); loop.create_task(all_of())\n"
    "try: loop.run_forever()\nexcept SystemExit: print('ended')",
    "exited": "async def end():\n    for each in (boxed, ran, held): asyncio.create_task(each())\n"
    "    await asyncio.sleep(1); print('ended', flush=True); os._exit(0)\nasyncio.run(end())",
}


@pytest.mark.parametrize("end", ENDS)
def test_loops_and_programs_that_end_with_boxes_open(box, end):
    out = box.python(
        BEGIN
        + CANCELLED
        + """
async def held():
    async with aio.container("box:1", network="none") as made:
        async with made.popen("cat") as cat: await cat.stdout.read()
async def all_of():
    await asyncio.gather(boxed(), ran(), held())
"""
        + ENDS[end]
    )
    assert out == "ended\n"
    gone(box)
    assert_well(box)


def test_two_loops_in_two_threads(box):
    out = box.python(
        BEGIN
        + """
async def work():
    async with aio.container("box:1", network="none") as made:
        done = await asyncio.gather(*(made.exec(["echo", "a"]) for _ in range(5)), *(aio.run("box:1", ["echo", "b"], network="none") for _ in range(5)))
        return "".join(one.output.strip() for one in done)
found = []
both = [threading.Thread(target=lambda: found.append(asyncio.run(work()))) for _ in range(2)]
for one in both: one.start()
for one in both: one.join()
print(found)
"""
    )
    assert out == "['aaaaabbbbb', 'aaaaabbbbb']\n"
    gone(box)


def test_forks_in_a_coroutine(box):
    """Whatever a child does, and however it ends, its parent's boxes, commands and loop go on."""
    out = box.python(
        BEGIN
        + """
async def main():
    async with aio.container("box:1", network="none") as made:
        other = asyncio.create_task(made.exec(["sh", "-c", "sleep 2; echo there"]))
        events = aio.Engine().events()
        following = asyncio.ensure_future(anext(events))
        cat = await made.popen("cat")
        await asyncio.sleep(0.3)
        for kind in (0, 2, 3):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                if kind == 0: os._exit(0)
                if kind == 2:
                    try: cat.kill()
                    except estiva.EstivaError: os._exit(6)
                async def mine(): return (await aio.run("box:1", ["echo", "mine"], network="none")).output
                thread = threading.Thread(target=lambda: print(asyncio.run(mine()), end="", flush=True))
                thread.start(); thread.join()
                os._exit(7)
            while not (ended := os.waitpid(child, os.WNOHANG))[0]: await asyncio.sleep(0.01)
            print(os.waitstatus_to_exitcode(ended[1]), flush=True)
        await made.pause(); await made.unpause()
        print((await other).output.strip(), (await cat.communicate(b"pipe"))[0], await made.running, (await following).action)
        await events.aclose()
asyncio.run(main())
"""
    )
    assert out.splitlines()[:-1] == ["0", "6", "mine", "7"]
    assert out.splitlines()[-1].startswith("there b'pipe' True ")
    gone(box)


@pytest.mark.parametrize("seed", range(2))
def test_sigkill_at_any_moment(box, seed):
    program = (
        BEGIN
        + CANCELLED
        + """
async def again(work):
    while True:
        try:
            async with asyncio.timeout(random.random()): await work()
        except TimeoutError: pass
async def main():
    print("begun", flush=True)
    await asyncio.gather(*(again(work) for work in (boxed, ran, boxed, ran)))
asyncio.run(main())
"""
    )
    rng = random.Random(seed)
    for _ in range(6):
        running = subprocess.Popen(
            [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", program],
            env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.stdout.readline()
        time.sleep(rng.random() ** 2 * 1.5)
        running.kill()
        running.wait()
        running.stdout.close()
        gone(box)
    assert_well(box)


def test_a_wait_with_a_timeout_is_for_the_run_that_goes_on(box):
    """Though its restart policy follows it by another."""
    out = box.python(
        BEGIN
        + """
with estiva.Engine().containers.run("box:1", ["sh", "-c", "sleep 1; exit 3"], detach=True, restart="always", network="none") as one:
    print(one.wait(timeout=100).status)
    async def later(): return (await (await aio.Engine().containers.get(one.id)).wait()).status
    print(asyncio.run(later()))
"""
    )
    assert out == "3\n3\n"
    gone(box)
