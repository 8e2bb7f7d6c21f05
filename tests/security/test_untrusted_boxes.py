"""Boxes whose code answers in the place of who was asked, or keeps it from answering: agents, `box.python`, snapshots."""

import json

import pytest

from enginekit import host
from killkit import assert_nothing_left

BEGIN = """import estiva, os, time
engine = estiva.Engine()
def said(call):
    try: return call()
    except estiva.EstivaError as error: return type(error).__name__ + ": " + str(error)
"""
# in a run of box.python: says `head` and `texts` to the host, in the place of the interpreter above
FORGE = r"""
import os, struct
def written(fd):
    with open(f"/proc/{os.getppid()}/fdinfo/{fd}") as file:
        return int(file.read().split("flags:")[1].split()[0], 8) & 3 == os.O_WRONLY
above = f"/proc/{os.getppid()}/fd/"
ends = [fd for fd in os.listdir(above) if os.readlink(above + fd).startswith("pipe:") and written(fd)]
out = os.open(above + min(ends, key=int), os.O_WRONLY)
def say(head, *texts, lengths=None):
    parts = [head, *texts, b"", b"", b""][:4]
    data = struct.pack(">IIII", *(lengths or map(len, parts))) + b"".join(parts)
    while data: data = data[os.write(out, data):]
"""
CANT = "EngineError: the interpreter in the box has said what it can't have"
MORE = "EngineError: the interpreter in the box has sent more than it may"
FORGERIES = {
    "say(b'{}', b'out', b'err', b'7')": "(7, '', 'out', 'err')",
    "say(b'{}', b'a' * 1001)": MORE,
    "say(b'{}', b'', b'a' * 1001)": MORE,
    "say(b'{}', b'', b'', b'[' + b'1,' * 500 + b'1]')": CANT,
    "say(b'{\"kind\": \"repr\"}', b'', b'', b'a' * 4001)": MORE,
    "say(b'', lengths=(0xFFFFFFFF,) * 4)": MORE,
    "say(b'[' * (3 << 20))": MORE,
    "say(b'[' * (1 << 20))": CANT,
    "say(b'{}', b'', b'', b'[' * 1000)": CANT,
    "say(b'{}', b'', b'', b'NaN')": CANT,
    "say(b'{\"seconds\": Infinity}')": CANT,
    "say(b'\\x80\\x04K\\x07.')": CANT,
    "say(b'[]')": CANT,
    'say(b\'{"value": 5, "stdout": 6, "error": 7, "ended": 8, "late": 9}\')': "(None, '', '', '')",
}


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.import_python("sleep", "sh", "truncate")
        yield made
        assert_nothing_left(made)


def test_an_agent_that_gets_no_descriptors_any_more(box):
    """prlimit(2) asks only whether the user is the same, which root of the box is: then fds that are passed to it
    are dropped, one of them maybe the last that would have been needed."""
    out = box.python(
        BEGIN
        + """
LIMIT = "import resource, sys; resource.prlimit(1, resource.RLIMIT_NOFILE, (int(sys.argv[1]), 512))"
wanted = dict(size=1, network="none", ulimits={"nofile": (512, 512)}, engine=engine)
with estiva.pool("py:1", **wanted) as pool, pool.box() as box:
    fds = f"/proc/{box.inspect()['State']['Pid']}/fd"
    def held():
        box._agent.rest()  # without those of the next command
        time.sleep(0.2)
        return len(os.listdir(fds))
    for more in range(7):
        box.exec(["python3", "-c", LIMIT, str(more + 3)])
        before = held()
        done = said(lambda: box.exec(["sh", "-c", "echo hi"], timeout=20).output.strip())
        again = said(lambda: box.exec(["sh", "-c", "sleep 0.1; echo hi"], timeout=20).output.strip())
        print(done, held() <= before, again == "hi" and box.running)
"""
    )
    assert out.splitlines() == ["hi True True"] * 7


def test_a_timeout_holds_though_the_agent_says_nothing(box):
    out = box.python(
        BEGIN
        + """
import signal
with estiva.pool("py:1", size=1, network="none", engine=engine) as pool, pool.box() as box:
    init = box.inspect()["State"]["Pid"]
    os.kill(init, signal.SIGSTOP)  # for whatever keeps it from what it should do
    print(said(lambda: box.exec(["sh", "-c", "sleep 100"], timeout=1)))
    os.kill(init, signal.SIGCONT)
    print(box.exec(["sh", "-c", "echo on"]).output.strip())
"""
    )
    assert out.splitlines() == ["CommandTimeout: the command was killed after 1.0 s", "on"]


def test_forged_answers_of_an_interpreter(box):
    """All in the box is the attacker's, its python3 too: what it says is as long as was asked for at most, and
    JSON. So what it costs to read is bounded."""
    out = box.python(
        BEGIN
        + f"""
with estiva.container("py:1", network="none", engine=engine) as box:
    for code in {list(FORGERIES)!r}:
        run = said(lambda: box.python.run({FORGE!r} + code + "; os.kill(os.getppid(), 9)", max_output=1000, timeout=20))
        print(run if isinstance(run, str) else (run.value, run.repr, run.stdout, run.stderr))
        box.python.close()
"""
    )
    assert dict(zip(FORGERIES, out.splitlines(), strict=True)) == FORGERIES


def test_a_long_exception_is_told_all_the_same(box):
    """It would be a success else."""
    out = box.python(
        BEGIN
        + """
with estiva.container("py:1", network="none", engine=engine) as box:
    run = box.python.run("raise ValueError(chr(0x1F600) * 300000)", max_output=10)
    print(run.error.type, len(run.error.message), len(run.error.traceback))
"""
    )
    assert out == "ValueError 65536 262144\n"


def test_what_an_untrusted_box_has_written_stays_untrusted(box):
    """A container made from its snapshot, by whatever way, is held to its profile."""
    out = box.python(
        BEGIN
        + """
def shown(box):
    host = box.inspect()["HostConfig"]
    return host.get("Profile"), host["NetworkMode"], host["CapDrop"], host["UsernsMode"]
with estiva.container("py:1", profile="untrusted", engine=engine) as box:
    state = box.snapshot("kept")
    with box.fork() as other: print(shown(other), shown(other) == shown(box))
    for what in (state, "kept", state.id):
        with estiva.container(what, engine=engine) as other: print(shown(other) == shown(box))
        with estiva.container(what, engine=engine) as other:
            again = other.snapshot()
            with estiva.container(again, engine=engine) as third: print(shown(third) == shown(box))
    print(said(lambda: estiva.container(state, privileged=True, engine=engine).__enter__()))
    print(said(lambda: estiva.run(state, ["id", "-u"], network="host", engine=engine)))
"""
    )
    lines = out.splitlines()
    assert lines[0] == "('untrusted', 'none', ['ALL'], 'auto') True"
    assert lines[1:7] == ["True"] * 6
    assert lines[7:] == [
        "Conflict: --privileged can't be used with --profile untrusted",
        "Conflict: --network host can't be used with --profile untrusted",
    ]
    config = json.loads(box.out("inspect", box.out("create", "kept", "true")))[0]["HostConfig"]
    assert config["Profile"] == "untrusted"
    box.estiva("rm", box.out("ps", "-aq"))
    box.estiva("snapshot", "rm", "kept")


def test_what_a_client_of_a_model_is_told(box):
    """Files with holes cost their box nothing, and would fill the host's disk; texts that are no UTF-8 can't be
    told; what is nested too deep neither."""
    out = box.python(
        BEGIN
        + """
import asyncio, json
from estiva.sdk.mcp import session
session.KEPT = 1 << 20
def utf8(told):
    json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    return told
async def said_later(call):
    try: return await call
    except estiva.EstivaError as error: return f"{type(error).__name__}: {error}"
async def all_of_it():
    made = session.Session(engine, "py:1", {}, timeout=20, output=1000)
    try:
        await made.exec("echo kept > note; truncate -s 8G hole")
        print(await said_later(made.snapshot("a")), len(made._snapshots))
        await made.exec("truncate -s 500K hole")
        print(await said_later(made.snapshot("a")))
        print(await made.fork("a"), (await made.files_read("note"))["content"].strip())
        for code in ("'\\\\ud800'", "{'\\\\ud800': 1}", "raise ValueError('\\\\ud800')", "type('', (), {'__repr__': lambda _: '\\\\ud800'})()"):
            told = utf8(await made.run_python(code))
            print(told["value"], told.get("repr"), told.get("error", {}).get("message"))
        deep = utf8(await made.run_python("x = []\\nfor _ in range(300): x = [x]\\nx"))
        print(deep["value"], deep["repr"][:5])
    finally:
        await made.close()
asyncio.run(all_of_it())
"""
    )
    assert out.splitlines() == [
        "InvalidInput: the files of a snapshot have 1 MiB at most, holes in them too 0",
        "kept as a",
        "a fresh sandbox, with the files of a kept",
        "None '\\ud800' None",
        "None {'\\ud800': 1} None",
        "None None \\ud800",
        "None \\ud800 None",
        "None [[[[[",
    ]


def test_a_command_that_begins_in_a_snapshot_loses_nothing(box):
    """The container gets another root; where that has to be undone, what was written to the new one would be gone."""
    out = box.python(
        BEGIN
        + """
import threading, time
from estiva.runtime.rootfs import reroot
real, umount = reroot.reroot, reroot.mnt.umount2
def begun(pid, rootfs):
    thread.start()
    time.sleep(0.3)
    return real(pid, rootfs)
def later(*words):
    time.sleep(1)
    umount(*words)
reroot.reroot, reroot.mnt.umount2 = begun, later
with estiva.pool("py:1", size=1, network="none", engine=engine) as pool, pool.box() as box:
    box.exec(["sh", "-c", "echo one > /log"]).check()
    box._agent.rest()
    while len(box.top().rows) > 1: time.sleep(0.01)  # else it is copied
    thread = threading.Thread(target=lambda: box.exec(["sh", "-c", "sleep 0.6; echo two >> /log; sleep 6"]).check())
    state = box.snapshot()
    thread.join()
    print(box.files.read_text("/log").split(), state.inspect()["Copied"])
    with estiva.container(state, network="none", engine=engine) as other:
        print(other.files.read_text("/log").split()[0])
"""
    )
    assert out.splitlines() == ["['one', 'two'] False", "one"]


def test_a_timeout_in_a_snapshot_lets_nothing_run_on(box):
    """What is frozen can't be killed; but a snapshot reads files that stand still."""
    out = box.python(
        BEGIN
        + """
import threading, time
from estiva.engine.containers.snapshots import snapshot
from estiva.runtime.cgroup import factory
real = snapshot._copy
def slow(*words, **more):
    time.sleep(3)
    print(factory.open(box._agent.live["cgroup"]).frozen())
    return real(*words, **more)
snapshot._copy = slow
with estiva.pool("py:1", size=1, network="none", engine=engine) as pool, pool.box() as box:
    said_ = []
    thread = threading.Thread(target=lambda: said_.append(said(lambda: box.exec(["sleep", "100"], timeout=1))))
    thread.start()
    while not any("sleep" in row[-1] for row in box.top().rows): time.sleep(0.01)
    box.snapshot()
    thread.join()
    print(said_, len(box.top().rows), box.exec(["sh", "-c", "echo on"]).output.strip())
"""
    )
    assert out.splitlines() == ["True", "['CommandTimeout: the command was killed after 1.0 s'] 1 on"]


def test_the_limit_of_output_is_one_in_a_pool_too(box):
    out = box.python(
        BEGIN
        + """
with estiva.pool("py:1", size=1, network="none", output_limit="1m", engine=engine) as pool, pool.box() as box:
    done = said(lambda: box.exec(["sh", "-c", "while echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; do :; done"], timeout=100))
    print(done if isinstance(done, str) else (done.status, len(done.stdout)))
"""
    )
    assert out == "(137, 1048576)\n"
