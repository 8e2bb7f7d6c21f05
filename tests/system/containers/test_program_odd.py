"""The Python API and the command line in places and moments that nobody has thought of."""

import os
import pathlib
import subprocess

import pytest

from enginekit import CHECKOUT, ESTIVA, host
from killkit import assert_nothing_left

BEGIN = """
import estiva
def said(call):
    try: return call()
    except estiva.EstivaError as error: return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_nothing_left(made)


def test_restart_keeps_a_container_of_run_rm(box):
    """As docker does; a later stop removes it. Also in the middle of an API's block, and after SIGKILL."""
    box.estiva("run", "-d", "--rm", "--name", "again", "--network", "none", "box:1", "sleep", "1000")
    first = box.out("inspect", "-f", "{{.Id}} {{.State.Pid}}", "again").split()
    box.estiva("restart", "-t", "0", "again")
    second = box.out("inspect", "-f", "{{.Id}} {{.State.Pid}}", "again").split()
    assert first[0] == second[0] and first[1] != second[1]
    box.estiva("stop", "-t", "0", "again")
    assert not box.out("ps", "-aq")
    out = box.python(
        BEGIN
        + """
with estiva.Engine().containers.run("box:1", "sleep 1000", detach=True, auto_remove=True, network="none") as job:
    job.restart(0)
    print(job.running, job.exec("echo on").output.strip())
    job.kill()
    while estiva.Engine().containers.list(all=True): pass
with estiva.container("box:1", network="none") as one:
    one.restart(0)
    print(one.running)
"""
    )
    assert out.splitlines()[0] == "True on" and out.splitlines()[1] == "True"
    assert not box.out("ps", "-aq")


def cgroups(name):
    return [str(each) for top in ("", "*/") for each in pathlib.Path("/sys/fs/cgroup").glob(f"{top}{name}")]


def test_a_cgroup_that_can_not_be_made_leaves_no_parent(box):
    above = os.path.basename(box.env["ESTIVA_CGROUP_PARENT"])
    out = box.python(
        BEGIN
        + """
for parent in ("é/tasks", "new/cgroup.procs", "new"):
    print(said(lambda: estiva.run("box:1", "true", network="none", cgroup_parent=parent, memory=None if parent != "new" else "6m",
        cpuset_cpus=None if parent != "new" else "4000").status))
"""
    )
    assert [
        line.split(":")[0] in ("Unsupported", "LimitRefused", "InvalidInput") for line in out.splitlines()
    ] == [True] * 3
    assert not cgroups(f"{above}/é") and not cgroups(f"{above}/new")


def test_what_exists(box):
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none") as box:
    box.exec(["sh", "-c", "ln -s b /a; ln -s a /b; ln -s none /c; touch /f; ln -s f /d"]).check()
    print([said(lambda: box.files.exists(path)) for path in ("/a", "/a/x", "/c", "/f/x", "/" + "n" * 300, "/f", "/d", "/", "/tmp/")])
print(said(lambda: box.files.exists("/f"))[:9])
engine = estiva.Engine()
for place in (engine.containers, engine.networks, engine.volumes, engine.snapshots): print(said(lambda: place.get("")))
"""
    )
    assert out.splitlines() == [
        "[False, False, False, False, False, True, True, True, True]",
        "Missing: ",
        *[f"InvalidInput: the name of a {what} is empty" for what in ("container", "network", "volume", "snapshot")],
    ]  # fmt: skip


def test_a_working_directory_that_has_been_removed(box):
    """It is named, where something is looked for in it."""
    program = "import estiva\ntry: estiva.run('box:1', 'true', network='none', volumes=['./x:/x'])\nexcept estiva.EstivaError as error: print(error)"
    words = {
        "save -o x.tar box:1": "",
        "run --network none -v ./x:/x box:1 true": "",
        "run --rm --network none box:1 echo fine": "fine",
    }
    python = CHECKOUT / ".venv/bin/python3"
    for number, word in enumerate([*words, None]):
        gone = f"{box.folder}/gone{number}"
        command = f"{ESTIVA} {word}" if word else f'{python} -c "$PROGRAM"'
        done = subprocess.run(
            [*box.prefix, "sh", "-c", f"mkdir {gone}; cd {gone}; rmdir {gone}; exec {command}"],
            env={**box.env, "PYTHONPATH": str(CHECKOUT / "src"), "PROGRAM": program},
            capture_output=True,
            text=True,
        )
        if words.get(word):
            assert done.stdout == f"{words[word]}\n"
        else:
            assert f"the working directory {gone} has been removed\n" in done.stdout + done.stderr, done


def test_a_handler_that_comes_while_the_package_is_imported(box):
    """It is served, or told what is the matter; and what it has interrupted goes on."""
    program = """
import importlib.abc, signal, sys
def handler(*_):
    import estiva
    try: print("handler", estiva.run("box:1", "echo served", network="none").output.strip())
    except estiva.EstivaError as error: print("handler", type(error).__name__, error)
signal.signal(signal.SIGUSR1, handler)
class Between(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == WHERE: signal.raise_signal(signal.SIGUSR1)
def profile(frame, event, argument):
    if event == "call" and frame.f_code.co_name == WHERE:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGUSR1)
sys.meta_path.insert(0, Between())
sys.setprofile(profile)
import estiva
print("main", estiva.run("box:1", "echo run", network="none").output.strip())
"""
    loading = "handler Unavailable estiva is being loaded by what a signal's handler has interrupted"
    for where, told in (
        ("estiva.sdk.pipes", loading),
        ("estiva.engine.state.locks", loading),
        ("estiva.engine.containers.create", loading),
        ("refuse_others", "handler served"),  # in the making of the first Engine, whose lock is held
    ):
        out = box.python(f"WHERE = {where!r}\n{program}", timeout=120)
        assert out.splitlines() == [told, "main run"], where
