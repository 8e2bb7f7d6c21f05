"""--detach-keys of run, start and exec: they leave the terminal, and the usual ones then are typed like any other."""

import os
import pty
import select

import pytest

from enginekit import CHECKOUT, IMAGE, eventually, host
from estiva.engine.monitor import hibernate

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HANGS = 240  # seconds; for what would wait for ever, not for a slow machine
SHELL = (
    "sh",
    "-c",
    "stty raw -echo; echo ready; dd bs=1 count=4 2>/dev/null | cat -v; echo over; exec sleep 600",
)


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def session(box, typed, *words):
    """The exit status of a command line on a terminal in which `typed` is typed once the command is ready, and what the
    terminal shows."""
    master, slave = pty.openpty()
    child = box.start(*words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    ended = os.pidfd_open(child.pid)
    shown = b""
    try:
        while master in select.select([master, ended], [], [], HANGS)[0]:
            try:
                shown += os.read(master, 4096)
            except OSError:  # EIO: the last of them has closed the terminal
                break
            if b"ready" in shown and typed:
                os.write(master, typed)
                typed = b""
        return child.wait(HANGS), shown.decode(errors="replace")
    finally:
        os.close(ended)
        os.close(master)


def running(box, name):
    return box.out("inspect", "-f", "{{.State.Running}}", name)


@pytest.mark.parametrize(
    ("keys", "typed"), [("ctrl-a,d", b"\x01d"), ("x", b"x"), ("ctrl-\\,DEL", b"\x1c\x7f")]
)
def test_they_leave_run_and_start_and_the_container_runs_on(box, keys, typed):
    run = ("run", "-it", "--name", "left", "--network", "none", f"--detach-keys={keys}", IMAGE, *SHELL)
    assert session(box, typed, *run)[0] == 0
    assert running(box, "left") == "true"
    box.estiva("kill", "left")
    box.estiva("wait", "left")
    assert session(box, typed, "start", "-ai", "--detach-keys", keys, "left")[0] == 0
    assert running(box, "left") == "true"
    box.estiva("rm", "-f", "left")


def test_the_usual_ones_are_the_command_s_then(box):
    run = ("run", "-it", "--name", "other", "--network", "none", "--detach-keys=ctrl-a", IMAGE, *SHELL)
    status, shown = session(box, b"\x10\x11zz\x01", *run)
    assert status == 0
    eventually(lambda: "^P^Qzz" in box.out("logs", "other"))
    box.estiva("rm", "-f", "other")


def test_attach_tells_that_it_was_left(box):
    talks = "stty raw -echo; while :; do echo ready; usleep 100000; done"
    box.estiva("run", "-dit", "--name", "talks", "--network", "none", IMAGE, "sh", "-c", talks)
    for typed, keys in ((b"\x10\x11", ()), (b"\x01d", ("--detach-keys", "ctrl-a,d"))):
        status, shown = session(box, typed, "attach", *keys, "talks")
        assert status == 1 and shown.endswith("read escape sequence\r\n")
    status, shown = session(box, b"\x10\x11", "start", "-ai", "talks")
    assert status == 0 and "escape" not in shown
    assert running(box, "talks") == "true"
    box.estiva("rm", "-f", "talks")


def test_they_leave_exec_and_the_command_goes_on(box):
    box.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "600")
    talks = "stty raw -echo; echo ready; until test -e /stop; do echo more than a terminal holds; done; echo >/out; exit 7"
    for typed, keys in ((b"\x10\x11q", ("--detach-keys", "q")), (b"\x10\x11", ())):
        status, shown = session(box, typed, "exec", "-it", *keys, "up", "sh", "-c", talks)
        assert status == 1 and shown.endswith("read escape sequence\r\n")
    assert box.out("top", "up").count("echo ready") == 2
    box.estiva("exec", "up", "touch", "/stop")
    box.estiva("exec", "up", "sh", "-c", "until test -e /out; do usleep 10000; done")
    eventually(lambda: box.out("top", "up").count("echo ready") == 0)
    if hibernate.tells_status():  # else nobody that still runs has a way to know
        status = ("--format", "{{.Actor.Attributes.exitCode}}", "--since", "1h", "--until", "0s")
        died = ("events", "--filter", "event=exec_die", *status)
        eventually(lambda: box.out(*died).split().count("7") == 2)  # by whoever keeps the terminal
    box.estiva("rm", "-f", "up")


SLOWLY = """
import os, sys, time
from estiva.cli.main import main

alone = os.setsid
os.setsid = lambda: (time.sleep(0.5), alone())
sys.argv = ["estiva", "exec", "-it", "up", "sh", "-c", "echo ready; sleep 2; echo > /went-on; sleep 600"]
main()
"""


def test_who_leads_the_session_of_the_terminal_may_leave_exec(box):
    """The end of that one hangs up all that is in the session still."""
    box.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "600")
    child, master = pty.fork()
    if child == 0:
        try:
            os.environ.update(box.env, PYTHONPATH=str(CHECKOUT / "src"))
            words = [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", SLOWLY]
            os.execvp(words[0], words)
        finally:
            os._exit(1)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(master, 4096)
    os.write(master, b"\x10\x11")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(master)
    box.estiva("exec", "up", "sh", "-c", "until test -e /went-on; do usleep 10000; done", timeout=60)
    box.estiva("rm", "-f", "up")


@pytest.mark.parametrize("words", [("run", "-it"), ("start", "-ai"), ("exec", "-it")])
@pytest.mark.parametrize("keys", ["ctrl-p,", "ctrl-é", "ctrl-1", "alt-a", "escape"])
def test_a_key_that_there_isn_t_is_named(box, words, keys):
    status = 125 if words[0] == "run" else 1
    done = box.estiva(words[0], "--detach-keys", keys, "thing", "true", status=status)
    assert done.stderr.startswith(
        f"estiva: invalid --detach-keys: unknown key '{keys.rpartition(',')[2]}'\nhint: "
    )
