"""estiva.testing and the pytest plugin: services that are ready in time, and gone with their tests."""

import os
import pathlib
import signal
import subprocess

import pytest

from enginekit import CHECKOUT, eventually, host
from killkit import assert_nothing_left, children


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def gone(box):
    assert_nothing_left(box)
    eventually(lambda: box.db("SELECT count(*) FROM containers") == [(0,)])


SERVER = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 8080 0.0.0.0; done"


def test_services_and_what_they_are_ready_by(box):
    out = box.python(
        f"""
import urllib.request
from estiva import testing
with testing.http("box:1", ["sh", "-c", {"sleep 0.3; " + SERVER!r}], port=8080) as web:
    print(web.host, web.port() == web.port(8080), web.url == "http://" + web.address)
    print(urllib.request.urlopen(web.url, timeout=30).read())
    assert not [port for port in web.box.ports if port.address != "127.0.0.1"]
with testing.service("box:1", ["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done; sleep 100"], network="none",
                     wait=[testing.log("line [23]", count=2), testing.command("true")]) as made:
    print(made.box.logs())
with testing.service("box:1", "sleep 100", health_cmd="true", health_interval=0.1, wait=testing.healthy(), network="none") as made:
    print(made.box.health.status)
def asked(waiting): print(waiting.service.box.running)
with testing.service("box:1", "sleep 100", wait=asked, network="none"): pass
"""
    )
    assert out.splitlines() == [
        "127.0.0.1 True True", "b'hello'", "b'line 1\\nline 2\\nline 3\\n'", "healthy", "True",
    ]  # fmt: skip
    gone(box)


STUB = """
FROM box:1
RUN printf '#!/bin/sh\\nexec sleep 100\\n' > /bin/postgres && printf '#!/bin/sh\\n' > /bin/psql && chmod +x /bin/p*
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
"""


def test_a_database_has_its_files_in_memory(box):
    """Also one whose image has a volume for them, unless the caller says where they are."""
    out = box.python(
        f"""
import estiva
from estiva import testing
estiva.build(None, dockerfile_text={STUB!r}, tag="stub:1", network="none")
def where(**options):
    with testing.postgres("stub:1", network="none", **options) as db:
        return db.box.exec(["sh", "-c", "mkdir -p $PGDATA; echo $PGDATA $(df -P $PGDATA | tail -n 1 | cut -d ' ' -f 1)"]).output.split()
print(*where())
print(where(volumes=["kept:/var/lib/postgresql/data"])[0])
print(*where(tmpfs=["/var/lib/postgresql/data"]))
print(where(env={{"PGDATA": "/elsewhere"}})[0])
"""
    )
    assert out.splitlines() == [
        "/var/lib/postgresql/memory tmpfs",
        "/var/lib/postgresql/data",
        "/var/lib/postgresql/data tmpfs",
        "/elsewhere",
    ]
    box.estiva("volume", "rm", "kept")
    gone(box)


def test_a_service_that_does_not_become_ready_says_why(box):
    out = box.python(
        """
import estiva
from estiva import testing
def fails(*words, wait=(), **options):
    try:
        with testing.service("box:1", list(words), wait=wait, name="it", **options): print("ready")
    except estiva.EstivaError as error:
        print(type(error).__name__, error, "|", error.hint, "|", repr(getattr(error, "log", "")))
fails("sh", "-c", "echo last words; exit 3", wait=testing.log("x"), network="none")
fails("sleep", "100", ports=80, timeout=0.5)
fails("sleep", "100", wait=testing.command("false"), timeout=3, network="none")
fails("sleep", "100", wait=testing.healthy(), health_cmd="exit 1", timeout=0.5, network="none")
fails("sleep", "100", wait=testing.healthy(), network="none")
fails("no-such", network="none")
fails("sleep", "100", ports=70000)
fails("sleep", "100", wait=[5])
try: testing.log("(")
except estiva.EstivaError as error: print(error)
"""
    )
    lines = out.splitlines()
    assert lines[0].startswith("NotReady service it ended before it was ready: ") and "status 3" in lines[0]
    assert lines[0].endswith("its last words: last words |  | 'last words\\n'")
    assert lines[1].startswith("NotReady service it does not listen on port 80 after 0.5 s | port ")
    assert lines[1].endswith("does not answer: nothing in it listens on 80/tcp | ''")
    assert lines[2].startswith("NotReady service it ends ['false'] with 1 after 3 s")
    assert lines[3].startswith("NotReady service it is not healthy after 0.5 s")
    assert lines[4].startswith("InvalidInput container ") and lines[5].startswith("CommandNotFound ")
    assert lines[6].startswith("InvalidInput a port must be") and lines[7].startswith(
        "InvalidInput wait must be"
    )
    assert lines[8].startswith("invalid pattern '('")
    gone(box)


SUITE = f"""
import pathlib, time
import pytest
from estiva import testing

@pytest.fixture(scope="module")
def web():
    with testing.http("box:1", ["sh", "-c", {SERVER!r}], port=8080) as made:
        yield made

@pytest.mark.parametrize("number", range(4))
def test_it(estiva, estiva_container, web, number):
    one, two = estiva_container("box:1", network="none"), estiva_container("box:1", memory="64m", network="none")
    assert one.exec("id -u").output == "0\\n" and two in estiva.containers.list() and web.box.running
    pathlib.Path(f"begun-{{number}}").touch()
    if HANG: time.sleep(1000)

def test_they_have_gone(estiva):
    assert len(estiva.containers.list()) <= 1 or XDIST
"""


def suite(box, hang, *words):
    path = pathlib.Path(box.folder, "test_suite.py")
    path.write_text(f"HANG, XDIST = {hang}, {'-n' in words}\n{SUITE}")
    return [
        *box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-m", "pytest", "-q", "-p", "estiva.pytest_plugin",
        "-p", "no:cacheprovider", "--rootdir", box.folder, *words, str(path),
    ]  # fmt: skip


def environment(box):
    return {**box.env, "PYTHONPATH": str(CHECKOUT / "src")}


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_the_fixtures(box, words):
    done = subprocess.run(
        suite(box, False, *words), env=environment(box), cwd=box.folder, capture_output=True, text=True
    )
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
    gone(box)


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_a_test_run_that_is_killed_leaves_nothing(box, words):
    for old in pathlib.Path(box.folder).glob("begun-*"):
        old.unlink()
    running = subprocess.Popen(
        suite(box, True, *words),
        env=environment(box),
        cwd=box.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: len(list(pathlib.Path(box.folder).glob("begun-*"))) == (2 if words else 1))
        assert box.out("ps", "-q")
    finally:
        for pid in [running.pid, *(children(running.pid) if words else ())]:
            os.kill(pid, signal.SIGKILL)
        running.wait()
    gone(box)


def test_a_run_of_pytest_without_containers_loads_little():
    code = "import sys, pytest; before = set(sys.modules); import estiva.pytest_plugin; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [str(CHECKOUT / ".venv/bin/python3"), "-c", code], env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == {"estiva", "estiva.pytest_plugin"}
    assert "estiva.pytest_plugin" in (CHECKOUT / "pyproject.toml").read_text()


def test_attach(box):
    out = box.python(
        """
import asyncio, estiva, subprocess
from estiva import aio
engine = estiva.Engine()
def made(**options):
    box = engine.containers.create("box:1", ["sh", "-c", "while read x; do echo got $x; echo err >&2; done; exit 4"], network="none", **options)
    box.start()
    return box
with made(interactive=True) as one:
    with one.attach() as main:
        main.stdin.write(b"one\\n")
        print(main.stdout.readline(), main.stderr.readline(), main.poll())
    with one.attach() as main:
        print(main.communicate(b"two\\nthree\\n"), main.returncode, one.exit.status)
with engine.containers.run("box:1", ["sh", "-c", "sleep 1; stty size; exec sleep 100"], detach=True, tty=True, network="none") as two:
    with two.attach() as main:
        main.resize(20, 70)
        print(main.stdout.readline(), main.stderr, main.stdin)
        try: main.wait(0.1)
        except subprocess.TimeoutExpired as error: print(type(error).__name__)
        main.kill()
        print(main.wait())
    try: two.attach()
    except estiva.EstivaError as error: print(type(error).__name__)
async def later():
    box = await aio.Engine().containers.get(made(interactive=True).id)
    async with box.attach() as main:
        main.stdin.write(b"one\\n")
        print(await main.stdout.readline(), await main.stderr.readline(), main.returncode)
    main = await box.attach()
    print(await main.communicate(b"two\\nthree\\n"), await main.wait())
    await box.remove()
    big = await aio.Engine().containers.create("box:1", "cat", interactive=True, network="none")
    await big.start()
    async with big.attach() as main:
        out, _ = await main.communicate(b"x" * 3000000)
        print(len(out), main.returncode)
    await big.remove()
asyncio.run(later())
"""
    )
    assert out.splitlines() == [
        "b'got one\\n' b'err\\n' None", "(b'got two\\ngot three\\n', b'err\\nerr\\n') 4 4",
        "b'20 70\\r\\n' None None", "StillRunning", "137", "Conflict",
        "b'got one\\n' b'err\\n' None", "(b'got two\\ngot three\\n', b'err\\nerr\\n') 4", "3000000 0",
    ]  # fmt: skip
    gone(box)


def test_files_of_variables_and_labels(box):
    pathlib.Path(box.folder, "vars").write_text("# no\nA=file\nB=b b\nHOME\n")
    pathlib.Path(box.folder, "labels").write_text("one=1\ntwo\n")
    out = box.python(
        """
import estiva
with estiva.container("box:1", env_file="vars", env={"A": "given"}, label_file=["labels"], labels={"one": "given"}, network="none") as made:
    print(sorted(made.labels.items()), made.exec(["sh", "-c", "echo $A,$B"]).output.strip())
    print(made.exec(["sh", "-c", "echo $A,$B"], env_file=["vars"], env=["B=x"]).output.strip())
try: estiva.run("box:1", env_file="no-such")
except estiva.EstivaError as error: print(error)
"""
    )
    assert out.splitlines() == [
        "[('one', 'given'), ('two', '')] given,b b", "file,x", "can't read no-such: no such file or directory",
    ]  # fmt: skip
    gone(box)
