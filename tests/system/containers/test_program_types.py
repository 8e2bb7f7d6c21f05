"""Every argument of every public function of the Python API, with values that people give and that they don't."""

import pathlib

import pytest

from enginekit import eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        eventually(lambda: not [path for path in made.cgroups() if len(path.rpartition("/")[2]) == 64])
        for path in made.cgroups():  # what cgroup_parent has named stays, as with Docker
            for folder in sorted(pathlib.Path(path).glob("**/"), reverse=True):
                folder.rmdir()


WALK = r"""
import enum, estiva, inspect, os, pathlib, signal, sys, traceback
from estiva.sdk import run_options
class Odd(enum.Enum): A = 1
VALUES = [None, 0, 5, -1, 1 << 70, 1.5, float("nan"), True, b"x", bytearray(b"x"), pathlib.Path("x"), pathlib.PurePath("/x"),
    signal.SIGTERM, Odd.A, [], (), {}, set(), "", "x", "x" * 100000, "a\nb", "a\0b", "\udc80", "\ud800", object(),
    [None], [b"x"], [[]], {1: 2}, {None: None}, {"a": object()}, {"x" * 5000: "y\n"}, lambda: 1, iter("ab"), range(3)]
wrong = []
def attempt(name, value, call):
    try:
        call(value)
    except estiva.EstivaError as error:
        text = f"{error} {error.hint}"
        if len(text) > 2000 or not text.isprintable():
            wrong.append(f"{name} message {text[:200]!r}")
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        wrong.append(f"{name}={ascii(value)[:40]}: {type(error).__name__}: {str(error)[:80]!a} {where.filename[-30:]}:{where.lineno}")
def enter(*words, **more):
    with estiva.container(*words, **more): pass
os.makedirs("context", exist_ok=True); open("context/Dockerfile", "w").write("FROM scratch\n")
os.chdir("context")
def plain(function, *without):
    return [name for name, kind in inspect.signature(function).parameters.items()
            if kind.kind in (kind.POSITIONAL_OR_KEYWORD, kind.KEYWORD_ONLY) and name not in ("self", *without)]
"""


def walk(box, code):
    out = box.python(WALK + code + "\nprint(*sorted(set(wrong)), sep='\\n')\n", timeout=280)
    assert not out.strip(), out


def test_run(box):
    walk(
        box,
        """
for name in plain(estiva.run):
    for value in VALUES:
        if name == "on_output" and callable(value): continue
        attempt(f"run {name}", value, lambda value: estiva.run(**{
            "image": "box:1", "command": ["true"], "network": "none", "pull": "never", "timeout": 60, **{name: value}}))
""",
    )


def test_container(box):
    walk(
        box,
        """
for name in plain(estiva.container):
    for value in VALUES:
        if name == "keep" and value is True: continue  # it would be kept
        attempt(f"container {name}", value, lambda value: enter(**{
            "image": "box:1", "network": "none", "pull": "never", **{name: value}}))
""",
    )


@pytest.mark.parametrize("part", range(4))
def test_options(box, part):
    walk(
        box,
        f"""
every = sorted(run_options.CreateOptions.__annotations__)
attempt("every option", None, lambda value: estiva.run("box:1", ["true"], **{{
    **dict.fromkeys(every), "network": "none", "pull": "never", "timeout": 60}}))
names = [*every, "nonsense"][{part}::4]
for name in names:
    for value in [value for value in VALUES if value is not None or name == "nonsense"]:
        attempt(f"option {{name}}", value, lambda value: estiva.run("box:1", ["true"], **{{
            "network": "none", "pull": "never", "timeout": 60, **{{name: value}}}}))
""",
    )


OBJECTS = r"""
def look(kind, made, given, skip=(), fine=lambda method, name, value: True):
    for method in sorted(name for name in dir(type(made)) if name[0] != "_" and name not in skip):
        function = getattr(type(made), method)
        if not callable(function): continue
        needed = {key: "x" for key, one in inspect.signature(function).parameters.items()
                  if key != "self" and one.default is one.empty and one.kind is not one.VAR_KEYWORD}
        for name in plain(function):
            for value in VALUES:
                if not fine(method, name, value): continue
                def call(value):
                    out = getattr(made, method)(**{**needed, **given.get(method, {}), name: value})
                    if hasattr(out, "close"): out.close()
                    if isinstance(out, estiva.Popen): out.kill(); out.communicate()
                attempt(f"{kind}.{method} {name}", value, call)
"""


def test_methods(box):
    walk(
        box,
        OBJECTS
        + """
GIVEN = {
    "exec": {"command": ["true"]}, "exec_detached": {"command": ["true"]}, "popen": {"command": ["true"]},
    "put": {"source": b"x", "path": "/x/y"}, "get": {"path": "/etc/passwd"}, "kill": {"signal": 0},
    "put_archive": {"path": "/tmp", "data": b""}, "get_archive": {"path": "/etc", "target": "out"}, "wait": {"timeout": 0},
}
END = ("kill", "stop", "restart", "remove", "wait", "start", "stats_stream", "rename")
with estiva.container("box:1", network="none") as made:
    look("Container", made, GIVEN, END, lambda method, name, value: not (name == "on_output" and callable(value)))
    assert made.running
    look("Files", made.files, {"write": {"path": "/w", "data": b"x"}, "upload": {"source": "/etc/hostname", "path": "/u"},
                               "download": {"path": "/w", "target": "down"}}, ("remove",))
    look("Files", made.files, {"remove": {"path": "/nosuch"}}, fine=lambda method, name, value: method == "remove" and value)
engine = estiva.Engine()
made = engine.containers.run("box:1", ["true"], network="none", detach=True)
made.wait()
look("Container", made, {"wait": {"timeout": 1}, "kill": {}}, fine=lambda method, name, value: method in ("kill", "wait", "rename", "stop"))
engine.containers.prune()
""",
    )


def test_collections(box):
    walk(
        box,
        OBJECTS
        + """
engine = estiva.Engine()
look("Containers", engine.containers, {"create": {"image": "box:1", "network": "none", "pull": "never"}}, ("run", "get"),
     lambda method, name, value: name not in ("image", "network", "pull") and not (name == "tty" and value))
look("Containers", engine.containers, {}, ("run", "create", "list", "prune"))
engine.containers.prune()
look("Volumes", engine.volumes, {})
engine.volumes.prune(all=True)
look("Networks", engine.networks, {"create": {"name": "x"}}, ("prune",), lambda method, name, value: not (method == "create" and name == "name"))
for each in engine.networks.list():
    if each.driver != "null" and each.name not in ("bridge", "host", "none"): each.remove()
look("Images", engine.images, {
    "pull": {"reference": "127.0.0.1:1/a"}, "push": {"reference": "127.0.0.1:1/a"}, "save": {"names": "box:1", "target": "saved"},
    "build": {"context": "."}, "tag": {"source": "box:1", "target": "other:1"}, "load": {"source": b""},
    "import_tar": {"source": b""}, "from_host": {"programs": "/nosuch"}, "remove": {"name": "nosuch"}}, ("prune",),
    lambda method, name, value: name != "on_progress" and not (method == "tag" and name == "target"))
look("Registry", engine.registry, {"login": {"username": "u", "password": "p", "registry": "127.0.0.1:1"},
    "search": {"term": "127.0.0.1:1/a"}}, ("logout",), lambda method, name, value: not (name == "registry" and not value))
look("System", engine.system, {}, ("prune", "check"))
for value in VALUES:
    for name in ("since", "until", "filters"):
        attempt(f"events {name}", value, lambda value: engine.events(**{name: value}).close())
""",
    )


def test_images(box):
    walk(
        box,
        """
from estiva.builder.request import Request
for name in [*plain(estiva.build), *plain(Request.__init__)]:
    for value in VALUES:
        if not name.startswith("on_"): attempt(f"build {name}", value, lambda value: estiva.build(**{"context": ".", "pull": "never", **{name: value}}))
for function in (estiva.pull, estiva.push):
    for name in plain(function):
        for value in VALUES:
            if not name.startswith("on_"): attempt(f"{function.__name__} {name}", value, lambda value: function(**{"reference": "127.0.0.1:1/a", **{name: value}}))
for name in ("root", "run_root"):
    for value in VALUES:
        if value not in ("", "x"):
            attempt(f"Engine {name}", value, lambda value: estiva.Engine(**{name: value}).paths)
""",
    )


def test_what_docker_py_users_write(box):
    out = box.python(
        """
import estiva, pathlib, signal
pathlib.Path("folder").mkdir(); pathlib.Path("folder/a").write_text("A")
here = pathlib.Path("folder").resolve()
with estiva.container("box:1", network="none", user=1000, volumes={here: pathlib.Path("/mnt/in")}, env=["A=1"]) as made:
    print(made.exec(["id", "-u"]).output, made.exec(["id", "-u"], user=0).output, made.exec(["cat", pathlib.Path("/mnt/in/a")]).output)
    print(made.exec(["sh", "-c", "echo $A $B; pwd"], env=["B=2"], workdir=pathlib.Path("/tmp")).output)
    made.put(here / "a", pathlib.Path("/tmp/b")); print(made.get(pathlib.Path("/tmp/b")))
    made.kill(signal.SIGKILL); print(made.running)
with estiva.container("box:1", network="none") as made:
    made.kill("SIGCONT"); made.kill(18); made.kill(signal="CONT"); print(made.running)
def refused(call):
    try: return call()
    except estiva.EstivaError as error: print(type(error).__name__, error)
refused(lambda: estiva.run("box:1", ["echo", "a\\0b"], network="none"))
refused(lambda: estiva.run("box:1", ["env"], env={"A": "\\0"}, network="none"))
with estiva.container("box:1", network="none") as made:
    refused(lambda: made.exec(["echo", "\\0"]))
    refused(lambda: made.exec(["echo"], env={"A\\0": "b"}))
    refused(lambda: made.exec("echo '"))
    print(made.exec("echo 'a b' $c").output)
(pathlib.Path("folder") / "Dockerfile").write_text("FROM 127.0.0.1:1/missing\\n")
refused(lambda: estiva.build(here, pull="never"))
(pathlib.Path("folder") / "Dockerfile").write_text("FROM box:1\\n")
print(estiva.build(here, pull="never", tag="built:1")[:7])
"""
    )
    assert out.split("\n") == [
        "1000", " 0", " A", "1 2", "/tmp", "", "b'A'", "False", "True",
        r"InvalidInput word 2 of the command holds a NUL byte: 'a\x00b'",
        r'InvalidInput Config.Env[0]: "A=\x00" is not a string',
        r"InvalidInput word 2 of the command holds a NUL byte: '\x00'",
        r"InvalidInput word 1 of env holds a NUL byte: 'A\x00=b'",
        "InvalidInput the command can't be split into words: no closing quotation", "a b $c", "",
        "NotFound Dockerfile:1: no such image: 127.0.0.1:1/missing", "sha256:", "",
    ]  # fmt: skip
