"""A terminal that is closed, or a signal to the command line: the client goes, the container lives, as with docker."""

import os
import pty
import select
import signal

import pytest

from enginekit import ESTIVA, IMAGE, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HANGS = 240  # seconds; for what would wait for ever, not for a slow machine


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


class Session:
    """A command line that is the leader of a terminal's session, with a shell that has answered."""

    def __init__(self, box, *words):
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.chdir(box.folder)
            os.execvpe(box.prefix[0], [*box.prefix, ESTIVA, *words], box.env)
        os.write(self.terminal, b"echo ans''wers\n")
        shown = b""
        while b"answers" not in shown and select.select([self.terminal], [], [], HANGS)[0]:
            shown += os.read(self.terminal, 4096)
        assert b"answers" in shown

    def end(self, how):
        """Its exit status."""
        pidfd = os.pidfd_open(self.pid)
        try:
            if how:
                os.kill(self.pid, how)
            else:
                os.close(self.terminal)
            left = select.select([pidfd], [], [], HANGS)[0]
            if not left:
                os.kill(self.pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            assert left
            return status
        finally:
            os.close(pidfd)
            if how:
                os.close(self.terminal)


@pytest.mark.parametrize("how", [None, signal.SIGTERM], ids=["closed", "TERM"])
@pytest.mark.parametrize("words", [("run",), ("run", "--rm"), ("attach",), ("start", "-ai")], ids=" ".join)
def test_the_container_goes_on(box, words, how):
    if words[0] == "run":
        session = Session(box, *words, "-it", "--name", "on", "--network", "none", IMAGE, "sh")
    else:
        made = "create" if words[0] == "start" else "run"
        detached = () if made == "create" else ("-d",)
        box.estiva(made, *detached, "-it", "--name", "on", "--network", "none", IMAGE, "sh")
        session = Session(box, *words, "on")
    try:
        assert session.end(how) == 128 + (how or signal.SIGHUP)
        assert box.out("exec", "on", "echo", "well") == "well"
        again = Session(box, "attach", "on")
        os.write(again.terminal, b"exit 3\n")
        assert os.waitstatus_to_exitcode(os.waitpid(again.pid, 0)[1]) == 3
        os.close(again.terminal)
    finally:
        box.estiva("rm", "-f", "on", status=None)
    assert box.out("ps", "-aq") == ""
