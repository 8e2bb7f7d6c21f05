"""`run -it`, `run -i` and `-a` as a person uses them: keys, job control, sizes, leaving and coming back."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

import pytest

from enginekit import ESTIVA, IMAGE, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HANGS = 120  # seconds; for what would wait for ever, not for a slow machine


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


class Terminal:
    """A command line on a terminal of its own."""

    def __init__(self, box, *words, size=(30, 100)):
        self.shown = b""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            self.resize(*size, fd=0)
            os.chdir(box.folder)
            os.execvpe(box.prefix[0], [*box.prefix, ESTIVA, *words], box.env)

    def resize(self, rows, columns, fd=None):
        fcntl.ioctl(
            self.fd if fd is None else fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0)
        )

    def type(self, text):
        os.write(self.fd, text)

    def until(self, pattern):
        """What matches, once it is shown; it is not looked at again."""
        end = time.monotonic() + HANGS
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < end, self.shown
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:
                    data = b""
                assert data, self.shown
                self.shown += data
        self.shown = self.shown[found.end() :]
        return found

    def end(self):
        """Its exit status."""
        end = time.monotonic() + HANGS
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self.fd, 4096)
                except OSError:
                    break
        else:
            raise AssertionError("somebody holds its terminal")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


def shell(box, name, *words, **options):
    made = Terminal(box, "run", "-it", "--name", name, "--network", "none", *words, IMAGE, "sh", **options)
    made.until(rb"# ")
    return made


def test_keys_and_job_control(box):
    terminal = shell(box, "keys")
    terminal.type(b"sleep 1000\n")
    eventually(lambda: "sleep 1000" in box.out("top", "keys"))
    terminal.type(b"\x03")  # ctrl-c ends the command, not the shell
    terminal.until(rb"# ")
    terminal.type(b"echo $?.st\n")
    terminal.until(rb"130\.st")
    terminal.type(b"sleep 1000\n")
    eventually(lambda: "sleep 1000" in box.out("top", "keys"))
    terminal.type(b"\x1c")  # ctrl-\
    terminal.until(rb"Quit")
    terminal.until(rb"# ")
    terminal.type(b"sleep 1001\n")
    eventually(lambda: "sleep 1001" in box.out("top", "keys"))
    terminal.type(b"\x1a")  # ctrl-z
    terminal.until(rb"Stopped")
    terminal.type(b"jobs; bg; echo $((20+3)).bg\n")
    terminal.until(rb"Stopped.*sleep 1001")
    terminal.until(rb"23\.bg")
    terminal.type(b"kill %1; exit 7\n")
    assert terminal.end() == 7
    box.estiva("rm", "keys")


def test_the_size_is_followed(box):
    terminal = shell(box, "size", "--rm", size=(31, 101))
    terminal.type(b"stty size\n")
    terminal.until(rb"31 101\r")
    terminal.resize(42, 142)

    def followed():
        terminal.type(b"stty size; echo do'ne'\n")
        return b"42 142" in terminal.until(rb"(?s)(.*)done").group(1)

    eventually(followed)
    terminal.type(b"exit\n")
    assert terminal.end() == 0


def test_left_and_come_back_to(box):
    terminal = shell(box, "back", "--rm")
    terminal.type(b"x=kept\n\x10\x11")
    assert terminal.end() == 0
    for _ in range(2):
        again = Terminal(box, "attach", "back", size=(33, 103))
        again.type(b"\necho $x.$(stty size)\n")
        again.until(rb"kept\.33 103")
        again.type(b"\x10\x11")
        assert again.end() == 1
    events = box.estiva(
        "events", "--since", "1h", "--until", "0s", "-f", "container=back", "--format", "{{.Action}}"
    ).stdout.split()
    assert events.count("attach") == 3 and "resize" in events
    last = Terminal(box, "attach", "--sig-proxy=false", "back")
    last.type(b"\nexit 5\n")
    assert last.end() == 5


def test_nothing_holds_the_terminal_of_an_exec_that_was_left(box):
    box.estiva("run", "-d", "--name", "left", "--network", "none", IMAGE, "sleep", "1000")
    terminal = Terminal(box, "exec", "-it", "left", "sh")
    terminal.until(rb"# ")
    terminal.type(b"sleep 1000\n\x10\x11")
    assert terminal.end() == 1
    eventually(lambda: box.out("top", "left").count("sleep 1000") == 2)


def test_piped_input(box):
    for words, data, expected in (
        (("cat",), b"a\nb\n", b"a\nb\n"),
        (("sh", "-c", "read x; echo got $x; cat | wc -c"), b"line\n" + b"y" * 300_000, b"got line\n300000\n"),
        (("cat",), b"", b""),
        (("true",), b"z" * 300_000, b""),  # nobody reads it
    ):
        done = box.estiva("run", "-i", "--rm", "--network", "none", IMAGE, *words, input=data, text=False)
        assert done.stdout == expected


@pytest.mark.parametrize(
    ("attached", "out", "err"),
    [
        (("stdout",), "out\n", ""),
        (("stderr",), "", "err\n"),
        (("stdout", "stderr"), "out\n", "err\n"),
        (("stdin",), "", ""),
    ],
)
def test_only_what_is_asked_for_is_attached(box, attached, out, err):
    flags = [word for name in attached for word in ("-a", name)]
    script = ("sh", "-c", "echo out; echo err >&2; exit 3")
    done = box.estiva("run", "--rm", "--network", "none", *flags, IMAGE, *script, status=3)
    assert (done.stdout, done.stderr) == (out, err)
