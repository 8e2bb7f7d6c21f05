"""estiva.aio: pools, box.python and anatomy, in programs of their own; and tasks that are cancelled: nothing stays."""

import os
import signal
import subprocess

import pytest

from aiokit import BEGIN, gone
from enginekit import CHECKOUT, eventually, host
from killkit import assert_well


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.import_python("sleep", "sh")
        yield made


def test_many_boxes_through_a_pool(box):
    out = box.python(
        BEGIN
        + """
async def main():
    async def one(number):
        async with pool.box() as made:
            return (await made.exec(["sh", "-c", f"test ! -e /mine && echo {number} | tee /mine"])).output
    async with aio.pool("box:1", size=8, network="none") as pool:
        print(pool.size, await asyncio.gather(*(one(n) for n in range(40))) == [f"{n}\\n" for n in range(40)])
        before = fds()
        print(await asyncio.gather(*(one(n) for n in range(60))) == [f"{n}\\n" for n in range(60)], threads() <= 11)
        while pool.ready < 8: await asyncio.sleep(0.01)
        print(fds() - before < 30)
    print(await aio.Engine().containers.list(all=True))
    alone = await aio.pool("box:1", size=1, network="none")
    async with alone.box() as made, made.fork() as other: print((await other.exec("echo forked")).output.strip())
    await alone.close()
    await alone.close()
    for wrong in (lambda: alone.box().__aenter__(), lambda: aio.pool("no-such:1", pull="never").__aenter__(),
                  lambda: aio.pool("box:1", warm="1", network="none").__aenter__()):
        try: await wrong()
        except estiva.EstivaError as error: print(type(error).__name__, error)
    try: aio.pool("box:1", size=0)
    except estiva.EstivaError as error: print(type(error).__name__, error)
asyncio.run(main())
"""
    )
    lines = out.splitlines()
    assert lines[:6] == ["8 True", "True True", "True", "[]", "forked", "Conflict this pool is closed"]
    assert lines[6].startswith("NotFound ") and "there is no python3 in the image" in lines[7]
    assert lines[8] == "InvalidInput size must be from 1 to 1000, not 0"
    gone(box)


def test_runs_of_python(box):
    out = box.python(
        BEGIN
        + """
async def main():
    async with aio.pool("py:1", size=2, warm="import json\\nkept = []", network="none") as pool:
        async with pool.box() as made:
            done = await made.python.run("print('out'); kept.append(1); json.dumps(kept)")
            print(done.value, done.stdout.strip(), done.error, (await made.python.run("len(kept)")).value)
            print([done.value for done in await asyncio.gather(*(made.python.run(f"{n} * 2") for n in range(5)))])
            pids = "print(__import__('os').getppid())"
            before = (await made.python.run(pids)).stdout
            for number in range(4):
                try:
                    async with asyncio.timeout(0.2 + number / 10):
                        await made.python.run("import subprocess, time; subprocess.Popen(['sleep', '77'], start_new_session=True); time.sleep(77)")
                except TimeoutError: pass
                shown = (await made.top("-eo pid,comm")).rows
                print(sorted(row[-1] for row in shown), (await made.python.run("6 * 7")).value)
            print((await made.python.run(pids)).stdout == before)
            try: await made.python.run("while True: pass", timeout=0.5)
            except estiva.CommandTimeout as error: print(error)
            waiting = [asyncio.ensure_future(made.python.run("import time; time.sleep(77)")) for _ in range(3)]
            await asyncio.sleep(0.2)
            for one in waiting: one.cancel()
            print([type(one).__name__ for one in await asyncio.gather(*waiting, return_exceptions=True)], (await made.python.run("1")).value)
            big = asyncio.ensure_future(made.python.run("#" * 3000000 + "\\n__import__('time').sleep(77)"))
            await asyncio.sleep(0.005); big.cancel()
            print([type(one).__name__ for one in await asyncio.gather(big, return_exceptions=True)], (await made.python.run("2")).value)
            stopped = asyncio.ensure_future(made.python.run("import os, signal, time; os.kill(os.getppid(), 19); time.sleep(77)"))
            await asyncio.sleep(0.5); stopped.cancel()
            print([type(one).__name__ for one in await asyncio.gather(stopped, return_exceptions=True)], (await made.python.run("3")).value)
            await made.python.close()
            print((await made.python.run("4")).value)
    async with aio.container("box:1", network="none", name="plain") as made:
        try: await made.python.run("1")
        except estiva.EstivaError as error: print(type(error).__name__)
        print((await aio.anatomy("plain")).kind, (await aio.anatomy("box:1")).kind)
asyncio.run(main())
"""
    )
    assert out.splitlines() == [
        "[1] out None 0",
        "[0, 2, 4, 6, 8]",
        *["['estiva-init', 'estiva-init', 'python3'] 42"] * 4,  # and the next command's
        "True",
        "the run was killed after 0.5 s",
        "['CancelledError', 'CancelledError', 'CancelledError'] 1",
        "['CancelledError'] 2",
        "['CancelledError'] 3",
        "4",
        "Unsupported",
        "container image",
    ]
    gone(box)


CANCELLED = """
async def pooled():
    async with pool.box() as made:
        await made.exec(["sh", "-c", "sleep 1000 & exec sleep 0.02"])
        await made.exec(["sh", "-c", "sleep 1000 & sleep 1000"])
async def python():
    async with pool.box() as made:
        await made.python.run("import time; time.sleep(0.05)")
        await made.python.run("import time; time.sleep(1000)")
async def opened():
    async with aio.pool("box:1", size=2, network="none") as own:
        async with own.box() as one, own.box() as other, own.box() as third: await third.exec("sleep 1000")
"""


@pytest.mark.parametrize("seed", range(2))
def test_tasks_that_are_cancelled_at_any_moment(box, seed):
    out = box.python(
        BEGIN
        + CANCELLED
        + f"""
pool = None
async def main():
    global pool
    rng = random.Random({seed})
    async with aio.pool("py:1", size=3, network="none") as pool, pool.box() as shared:
        async def shared_exec():
            await shared.exec(["sh", "-c", "sleep 1000 & exec sleep 1000"], input=b"abc")
        async def shared_python():
            await shared.python.run("import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)")
        for number in range(45):
            task = asyncio.create_task(rng.choice([pooled, python, opened, shared_exec, shared_python])())
            await asyncio.sleep(rng.random() ** 2 * 0.3)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0 if rng.random() < 0.5 else 0.01)
            assert task.cancelled(), task.exception()
            if number == 30: before = fds()
        print((await shared.exec(["sh", "-c", "echo on"])).output.strip(), (await shared.python.run("6 * 7")).value)
        print([row for row in (await shared.top("-eo pid,args")).rows if row[-1].startswith("sleep")], threads() <= 11, fds() - before < 30)
    print(await aio.Engine().containers.list(all=True))
asyncio.run(main())
"""
    )
    assert out.splitlines() == ["on 42", "[] True True", "[]"]
    gone(box)
    assert_well(box)


def test_a_build_whose_progress_nobody_reads_any_more_ends(box):
    """Its iterator is dropped, left half way, or its task cancelled; in the plain API too."""
    out = box.python(
        BEGIN
        + """
text = "FROM box:1\\nRUN echo begun; sleep 1000\\n"
def steps_of(work):
    for step in work:
        if step.output: return
def left(): return [one for one in threading.enumerate() if "_go" in one.name]
plain = estiva.Engine().images
work = plain.building(None, dockerfile_text=text, network="none")
steps_of(work)
print(len(left()))
del work
while left(): time.sleep(0.01)
steps_of(plain.building(None, dockerfile_text=text, network="none"))
while left(): time.sleep(0.01)
async def main():
    images = aio.Engine().images
    async def follow():
        async for step in images.building(None, dockerfile_text=text, network="none"):
            if step.output: begun.set()
    begun = asyncio.Event()
    task = asyncio.create_task(follow())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print(len(left()))
    async for step in images.building(None, dockerfile_text=text, network="none"):
        if step.output: break
    while left(): await asyncio.sleep(0.01)
asyncio.run(main())
print("ended")
"""
    )
    assert out.split() == ["1", "0", "ended"]
    gone(box)


ENDS = {
    "interrupted": "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT)); signal.setitimer(signal.ITIMER_REAL, 1.5)\n"
    "try: asyncio.run(all_of())\nexcept KeyboardInterrupt: print(len(estiva.Engine().containers.list()) or 'ended')",
    "closed": "loop = asyncio.new_event_loop(); task = loop.create_task(all_of())\n"
    "loop.run_until_complete(asyncio.sleep(1.5)); loop.close(); del task; gc.collect()\n"
    "while estiva.Engine().containers.list(): pass\nprint('ended')",
    "closed while boxes are waited for": "loop = asyncio.new_event_loop(); task = loop.create_task(all_of())\n"
    "async def until():\n    while pool is None or not pool._plain._waiting: await asyncio.sleep(0.001)\n"
    "loop.run_until_complete(until()); loop.close(); del task; gc.collect()\n"
    "while estiva.Engine().containers.list(): pass\nprint('ended')",
    "exited": "async def end():\n    task = asyncio.create_task(all_of())\n    await asyncio.sleep(1.5); print('ended', flush=True); os._exit(0)\n"
    "asyncio.run(end())",
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_loops_and_programs_that_end_with_a_pool(box, end):
    out = box.python(
        BEGIN
        + CANCELLED
        + """
pool = None
async def all_of():
    global pool
    async with aio.pool("py:1", size=2, warm="import json", network="none") as pool:
        await asyncio.gather(pooled(), python(), pooled(), python())
"""
        + ENDS[end]
    )
    assert out == "ended\n"
    gone(box)
    assert_well(box)


def test_a_loop_that_is_closed_while_a_thread_of_ours_is_at_work(box):
    """That has what waits for it, which no collection can find before."""
    out = box.python(
        BEGIN
        + """
from estiva.engine.containers import control
real, at = control.pausing, threading.Event()
def slow(*given):
    yield from real(*given)
    at.set()
    time.sleep(2)
control.pausing = slow
async def all_of():
    async with aio.pool("py:1", size=2, warm="import json", network="none"): pass
async def until():
    while not at.is_set(): await asyncio.sleep(0.01)
loop = asyncio.new_event_loop(); task = loop.create_task(all_of())
loop.run_until_complete(until()); loop.close(); del task; gc.collect()
while estiva.Engine().containers.list(): pass
print("ended")
"""
    )
    assert out == "ended\n"
    gone(box)


def test_it_ends_with_its_program(box):
    code = (
        BEGIN
        + CANCELLED
        + """
pool = None
async def again(work):
    while True:
        try:
            async with asyncio.timeout(random.random()): await work()
        except TimeoutError: pass
async def main():
    global pool
    async with aio.pool("py:1", size=2, network="none") as pool:
        print("ready", flush=True)
        await asyncio.gather(*(again(work) for work in (pooled, python, pooled, opened)))
asyncio.run(main())
"""
    )
    program = subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", code],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert program.stdout.readline() == b"ready\n"
    eventually(lambda: len(box.out("ps", "-q").split()) > 3)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    program.stdout.close()
    gone(box)
    assert_well(box)


def test_a_time_limit_begins_when_the_box_is_taken(box):
    """Not while it waits, frozen, in its pool; and it ends it as ever."""
    out = box.python(
        BEGIN
        + """
with estiva.pool("box:1", size=1, profile="untrusted", time_limit=2) as pool:
    time.sleep(3)
    with pool.box() as made:
        print(made.exec("echo on").output.strip(), made.running)
        ended = made.wait(timeout=60)
        print(ended.status, ended.meaning)
async def main():
    async with aio.pool("box:1", size=1, network="none", time_limit=2) as pool:
        await asyncio.sleep(3)
        async with pool.box() as made:
            print((await made.exec("echo on")).output.strip())
            print((await made.wait(timeout=60)).status)
asyncio.run(main())
with estiva.container("box:1", network="none", time_limit=1) as made: print(made.wait(timeout=60).status)
"""
    )
    lines = out.splitlines()
    assert lines[0] == "on True" and lines[1].startswith("137 ") and lines[2:] == ["on", "137", "137"]
    gone(box)
