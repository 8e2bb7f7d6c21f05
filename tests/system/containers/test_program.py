"""The Python API, in programs of their own as a user writes them."""

import pytest

from enginekit import eventually, host
from killkit import assert_nothing_left


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def test_run_gives_status_and_output(box):
    out = box.python("""
import estiva
r = estiva.run("box:1", ["sh", "-c", "id -u; echo err >&2; exit 3"], network="none")
print(r.status, r.output.strip(), r.stderr.decode().strip(), r.oom)
print(estiva.run("box:1", ["cat"], input="through", network="none").output)
print(estiva.run("box:1", ["env"], network="none", env={"A": "1"}, user="user", workdir="/tmp").output.count("A=1"))
print(estiva.run("box:1", ["sh", "-c", "x=$(yes | head -c 60000000)"], memory="16m", network="none").oom)
print(len(estiva.run("box:1", ["seq", "200000"], network="none").stdout))
""")
    assert out.splitlines() == ["3 0 err False", "through", "1", "True", "1288895"]


def test_a_container_for_a_while(box):
    out = box.python("""
import estiva, os, pathlib
pathlib.Path("in").mkdir(); pathlib.Path("in/a").write_text("A"); os.symlink("/etc/shadow", "in/link")
with estiva.container("box:1", memory="64m", network="none", name="mine") as box:
    print(box.exec(["sh", "-c", "cat > /f; wc -c < /f"], input=b"12345").output.strip())
    box.put(b"bytes", "/deep/er/file", mode=0o600)
    box.put("in", "/folder")
    print(box.exec(["sh", "-c", "cat /deep/er/file /folder/a; stat -c %a /deep/er/file; readlink /folder/link"]).output)
    print(box.get("/f"))
    box.get("/folder", "out")
    print(sorted(os.listdir("out")), pathlib.Path("out/a").read_text(), os.readlink("out/link"))
    image = box.commit("made:1")
    print(box.running, box.inspect()["State"]["Status"])
print(estiva.run("made:1", ["cat", "/f"], network="none").output)
print(box.running)
""")
    assert out.splitlines() == [
        "5", "bytesA600", "/etc/shadow", "", "b'12345'", "['a', 'link'] A /etc/shadow", "True running", "12345", "False",
    ]  # fmt: skip
    assert box.out("ps", "-aq") == ""


def test_errors_are_exceptions(box):
    out = box.python("""
import estiva
def name(call):
    try: call()
    except TimeoutError as error: print("TimeoutError", isinstance(error, estiva.CommandTimeout))
    except estiva.EstivaError as error: print(type(error).__name__)
name(lambda: estiva.run("box:1", ["nosuch"], network="none"))
name(lambda: estiva.run("localhost:1/missing:1", ["true"], pull="never"))
name(lambda: estiva.run("box:1", ["sleep", "9"], timeout=0.3, network="none"))
name(lambda: estiva.run("box:1", ["true"], nonsense=1))
name(lambda: estiva.run("box:1", 5))
name(lambda: estiva.run("BAD::", ["true"]))
name(lambda: estiva.run("box:1", ["false"], network="none").check())
with estiva.container("box:1", network="none") as box:
    name(lambda: box.exec(["nosuch"]))
    name(lambda: box.get("/nosuch"))
    name(lambda: box.put("/no/such/file", "/x"))
    name(lambda: box.exec(["sleep", "9"], timeout=0.3))
""")
    assert out.split() == [
        "CommandNotFound", "NotFound", "TimeoutError", "True", "InvalidInput", "InvalidInput", "InvalidInput", "EngineError",
        "CommandNotFound", "NotFound", "NotFound", "TimeoutError", "True",
    ]  # fmt: skip
    assert box.out("ps", "-aq") == ""


def test_threads(box):
    out = box.python("""
import concurrent.futures, estiva, threading
assert threading.active_count() == 1
def one(n):
    return estiva.run("box:1", ["echo", str(n)], network="none").output.strip()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sorted(map(int, pool.map(one, range(40)))) == list(range(40)))
""")
    assert out == "True\n"
    assert box.out("ps", "-aq") == ""


def test_a_program_that_is_killed_takes_its_containers_with_it(box):
    box.python(
        """
import estiva, os, signal
with estiva.container("box:1", network="none") as box:
    os.kill(os.getpid(), signal.SIGKILL)
""",
        status=-9,
    )
    assert_nothing_left(box)


def test_what_hostile_paths_in_a_container_reach(box):
    """K1: put and get follow the container's symlinks inside its own root only."""
    out = box.python("""
import estiva, os, pathlib
pathlib.Path("/var/tmp/estiva-secret-%d" % os.getpid()).write_text("host")
secret = "/var/tmp/estiva-secret-%d" % os.getpid()
try:
    with estiva.container("box:1", network="none") as box:
        box.exec(["sh", "-c", f"ln -s {secret} /l; mkdir /var/tmp; ln -s /var /v; ln -s / /up; ln -s ../../../../../../.. /out"])
        for path in ("/l", "/v/tmp/" + os.path.basename(secret), "/out" + secret, "/up" + secret):
            try: print(box.get(path))
            except estiva.EstivaError as error: print(type(error).__name__)
        box.put(b"inside", "/out" + secret)
        print(open(secret).read(), box.exec(["cat", secret]).output)
        box.put(b"replaced", "/l")
        print(open(secret).read())
finally:
    os.unlink(secret)
""")
    assert out.splitlines() == ["NotFound"] * 4 + ["host inside", "host"]


def test_devices_of_a_container_are_not_opened(box):
    """A node that a container made would act on the host's device if the host opened it."""
    out = box.python("""
import estiva, os
with estiva.container("box:1", network="none") as box:
    print(box.exec(["sh", "-c", "mkdir /d; mknod /d/zero c 1 5; mkfifo /d/pipe 2>/dev/null || mknod /d/pipe p; echo x > /d/f; mknod /null c 1 3"]).status)
    for path in ("/d/zero", "/null", "/d/pipe"):
        try: print(box.get(path))
        except estiva.EstivaError as error: print(type(error).__name__)
    box.get("/d", "copied")
    print(sorted(os.listdir("copied")))
""")
    assert out.splitlines() == ["0", "InvalidInput", "InvalidInput", "InvalidInput", "['f']"]


def test_every_public_name_twice(box):
    """A module that binds itself over a function of the package is seen by the second use only."""
    out = box.python("""
import estiva, pathlib
pathlib.Path("context").mkdir()
pathlib.Path("context/Dockerfile").write_text("FROM box:1\\nRUN true\\n")
def box():
    with estiva.container("box:1", network="none") as made: return made.exec(["true"]).status
def pooled():
    with estiva.pool("box:1", size=1, network="none") as made, made.box() as one: return one.exec("true").status
def refused(call):
    try: call()
    except estiva.EstivaError as error: return type(error).__name__
calls = {
    **{name: lambda kind=getattr(estiva, name): kind.__name__ for name in (
        "BuildError", "Event", "Exit", "FileInfo", "Health", "Image", "LogLine", "Network", "Pool", "Popen", "Port",
        "Progress", "PythonError", "PythonRun", "Snapshot", "Stats", "StillRunning", "Volume")},
    "CommandTimeout": lambda: estiva.CommandTimeout.__name__,
    "Container": lambda: estiva.Container.__name__,
    "Engine": lambda: estiva.Engine().paths.root[0],
    "EstivaError": lambda: estiva.EstivaError.__name__,
    "Result": lambda: estiva.Result(0, b"", b"").check().status,
    "anatomy": lambda: estiva.anatomy("box:1").kind,
    "build": lambda: estiva.build("context", tag="twice:1")[:7],
    "container": box,
    "pool": pooled,
    "pull": lambda: refused(lambda: estiva.pull("127.0.0.1:1/a")),
    "push": lambda: refused(lambda: estiva.push("127.0.0.1:1/a")),
    "run": lambda: estiva.run("box:1", ["true"], network="none").status,
}
assert sorted(calls) == estiva.__all__
for name, call in calls.items():
    one, two = call(), call()
    if name != one or name != two: print(name, one, two)
""")
    assert out.splitlines() == [
        "Engine / /", "Result 0 0", "anatomy image image",
        "build sha256: sha256:", "container 0 0", "pool 0 0", "pull Unavailable Unavailable", "push Missing Missing", "run 0 0",
    ]  # fmt: skip


def test_a_timeout_holds_for_a_command_that_has_closed_its_output(box):
    out = box.python("""
import estiva, time
quiet = ["sh", "-c", "exec >/dev/null 2>&1; sleep 60"]
def timed(call):
    try: return call()
    except TimeoutError as error: return error
print(timed(lambda: estiva.run("box:1", quiet, network="none", timeout=0.5)))
print(estiva.run("box:1", ["sh", "-c", "exec >/dev/null 2>&1; exit 7"], network="none", timeout=60).status)
print(estiva.run("box:1", ["true"], network="none", timeout=float("inf")).status)
with estiva.container("box:1", network="none") as made:
    print(timed(lambda: made.exec(quiet, timeout=0.5)))
""")
    assert out.splitlines() == [
        "the command was killed after 0.5 s", "7", "0", "the command was killed after 0.5 s",
    ]  # fmt: skip


def test_whatever_ends_a_run_ends_its_container(box):
    out = box.python("""
import array, estiva, signal, threading, os
def name(call):
    try: return call()
    except (Exception, KeyboardInterrupt) as error: return type(error).__name__
for timeout in ("5", -1, float("nan"), True):
    print(name(lambda: estiva.run("box:1", ["sleep", "100"], network="none", timeout=timeout)))
for data in (5, [], {}):
    print(name(lambda: estiva.run("box:1", ["sleep", "100"], network="none", input=data)))
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
print(name(lambda: estiva.run("box:1", ["sleep", "100"], network="none")))
whole = array.array("I", range(300000))
print(len(estiva.run("box:1", ["cat"], network="none", input=whole).stdout) == whole.itemsize * len(whole))
""")
    assert out.splitlines() == [*["InvalidInput"] * 7, "KeyboardInterrupt", "True"]
    eventually(lambda: box.out("ps", "-aq") == "")


def test_one_without_a_command_is_stopped_and_started(box):
    out = box.python("""
import estiva
with estiva.container("box:1", network="none", keep=True) as made: pass
made.restart(timeout=0)
print(made.exec("echo again").output, end="")
made.remove(force=True)
""")
    assert out == "again\n"


def test_the_image_of_one_without_a_command_has_that_of_its_own_image(box):
    box.estiva("build", "-t", "says:1", "-", input='FROM box:1\nENTRYPOINT ["echo"]\nCMD ["said"]\n')
    out = box.python("""
import estiva
with estiva.container("says:1", network="none") as made:
    made.commit("says:2")
print(estiva.run("says:2", network="none").output, end="")
""")
    assert out == "said\n"


def test_a_container_that_is_not_entered_tells_how(box):
    out = box.python("""
import estiva
made = estiva.container("box:1")
try:
    made.exec("true")
except AttributeError as error:
    print(error)
""")
    assert (
        out == "estiva.container(...) has no 'exec' until it is entered: with estiva.container(...) as box\n"
    )
