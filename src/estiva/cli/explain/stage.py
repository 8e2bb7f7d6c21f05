"""Where the lesson takes place: a state root, a cgroup and a network of its own. Nothing of it stays.

What is shown is done: every `$` line is run, by the command line itself in a process of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING

from estiva import programs, speech
from estiva.errors import EngineError, Unsupported, oneline
from estiva.linux import namespace
from estiva.speech import say

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "estiva-lesson-"
WHERE = "/var/tmp"
BASE, IMAGE = "lesson:base", "lesson:1"
DOCKERFILE = f'FROM {BASE}\nRUN ["busybox", "--install", "-s", "/bin"]\nCMD ["sh"]\n'
WIDTH = 96  # characters of a paragraph's line, or as many as the terminal has
OUTPUT = 24  # lines of a command's output that are shown


class Stage:
    def __init__(self, out: IO[str], waits: bool) -> None:
        self.out = out
        self.waits = waits
        self.folder = ""
        self.lock = -1
        self.children: list[subprocess.Popen[bytes]] = []
        launcher = os.path.join(os.path.dirname(programs.__file__), "boot/launcher.py")
        self.program = [sys.executable, "-I", "-S", launcher]

    # --- its place --------------------------------------------------------------------------------------

    def __enter__(self) -> Stage:
        if not programs.find("busybox"):
            raise Unsupported(
                "the lesson needs busybox, whose programs its containers run",
                hint="apt install busybox-static",
            )
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        sweep()
        self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=WHERE)
        self.lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        namespace.unshare(namespace.CLONE_NEWNET)  # this machine's interfaces and firewall are left alone
        namespace.loopback_up()
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self.children:
            child.terminate()
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()
        remove(self.folder, self.program)
        os.close(self.lock)

    def prepare(self) -> None:
        """Make the image that the steps run: this machine's busybox, nothing from the internet."""
        self.say(
            say(
                "Eight steps, each done for real on this machine. Lines with $ are what you could type; here "
                "they run in a state root of the lesson's own ({folder}) and in a network of its own, and "
                "nothing of them is left afterwards. First an image without the internet, out of this "
                "machine's own busybox.",
                folder=self.folder,
            )
        )
        self.estiva("image", "from-host", "--tag", BASE, "busybox", quiet=True)
        with open(f"{self.folder}/Dockerfile", "w") as written:
            written.write(DOCKERFILE)
        context = f"{self.folder}/context"
        os.mkdir(context)
        file = f"{self.folder}/Dockerfile"
        self.estiva("build", "-q", "--network", "none", "-t", IMAGE, "-f", file, context, quiet=True)
        self.estiva("images")

    def begin(self, number: int, whole: int, step: Callable[[Stage], None]) -> None:
        title = say((step.__doc__ or "").strip())
        head = say("Step {number} of {whole}: {title}", number=number, whole=whole, title=title)
        self._write(f"\n== {head}\n")
        self.wait()
        step(self)

    # --- what is told and done --------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A paragraph."""
        import textwrap

        width = WIDTH
        if self.out.isatty():  # asked each time: a window can be made narrower
            with contextlib.suppress(OSError):
                width = min(WIDTH, os.get_terminal_size(self.out.fileno()).columns or WIDTH)
        self._write("\n" + textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False) + "\n")

    def wait(self) -> None:
        if self.waits:
            self._write(say("(Enter goes on, Ctrl-C ends) "))
            self.out.flush()
            sys.stdin.readline()

    def before(self, text: str) -> None:
        self.say(say("Before: {text}", text=text))

    def after(self, text: str) -> None:
        self.say(say("After: {text}", text=text))
        self.wait()

    def estiva(self, *words: str, status: int | None = 0, quiet: bool = False, lines: int = OUTPUT) -> str:
        """Do a verb, and show it; what it prints. Raises EngineError where it ends otherwise."""
        if not quiet:
            self._write(f"\n$ estiva {shlex.join(words)}\n")
        return self._run([*self.program, *self._places(), *words], status, quiet, lines)

    def host(self, *words: str, status: int | None = 0) -> str:
        """Do something outside of any container, and show it."""
        self._write(f"\n$ {shlex.join(words)}\n")
        return self._run(list(words), status, False, OUTPUT)

    def background(self, *words: str) -> None:
        """A verb that goes on until the lesson ends; its first line is awaited."""
        self._write(f"\n$ estiva {shlex.join(words)} &\n")
        child = subprocess.Popen(
            [*self.program, *self._places(), *words], env=self._environment(), stdout=subprocess.PIPE
        )
        self.children.append(child)
        assert child.stdout is not None
        self._write(shown(child.stdout.readline().decode("utf-8", "replace"), OUTPUT))

    def _places(self) -> list[str]:
        places = ["--root", f"{self.folder}/root", "--run-root", f"{self.folder}/run"]
        return [*places, "--lang", speech.language()]

    def _environment(self) -> dict[str, str]:
        return environment(self.folder)

    def _run(self, command: list[str], status: int | None, quiet: bool, lines: int) -> str:
        done = subprocess.run(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        text = done.stdout.decode("utf-8", "replace")
        if not quiet:
            self._write(shown(text, lines))
            if done.returncode:
                self._write(f"  {say('(it ended with status {n})', n=done.returncode)}\n")
        if status is not None and done.returncode != status:
            raise EngineError(
                f"the lesson stops: {oneline(shlex.join(command[-6:]))} ended with {done.returncode}: "
                f"{oneline(text[-300:])}"
            )
        return text.strip()

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def environment(folder: str) -> dict[str, str]:
    """Of what is run: nothing of the user's own settings counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESTIVA_")}
    parent = f"/{os.path.basename(folder)}"
    return {**kept, "ESTIVA_CGROUP_PARENT": parent, "DOCKER_CONFIG": f"{folder}/docker", "NO_COLOR": "1"}


def shown(text: str, most: int) -> str:
    """A command's output, indented, without what a terminal must not see."""
    lines = [f"  {oneline(line)}" for line in text.expandtabs().splitlines()]
    more = [f"  {say('... {n} more lines', n=len(lines) - most)}"] if len(lines) > most else []
    return "".join(f"{line}\n" for line in [*lines[:most], *more])


def remove(folder: str, program: list[str]) -> None:
    """All that a lesson has made: containers, mounts, cgroups, files."""
    places = ["--root", f"{folder}/root", "--run-root", f"{folder}/run"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.path.isdir(f"{folder}/root"):
        words = [*program, *places, "system", "reset", "--force"]
        subprocess.run(words, env=environment(folder), check=False, **quiet)  # type: ignore[call-overload]
    with contextlib.suppress(OSError):
        tops = ["/sys/fs/cgroup", *(entry.path for entry in os.scandir("/sys/fs/cgroup") if entry.is_dir())]
        for top in tops:
            with contextlib.suppress(OSError):
                os.rmdir(f"{top}/{os.path.basename(folder)}")
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what lessons have left that were killed: those whose lock nobody holds."""
    launcher = os.path.join(os.path.dirname(programs.__file__), "boot/launcher.py")
    for entry in os.scandir(WHERE):
        if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(entry.path, [sys.executable, "-I", "-S", launcher])
        except OSError:
            pass  # one that goes on
        finally:
            os.close(fd)
