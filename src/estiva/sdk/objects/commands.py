"""Commands in a container: run to their end, with live streams, or left alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import exec as exec_
from estiva.sdk import running, values
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from estiva.engine import Engine
    from estiva.sdk.objects.attached import Attached
    from estiva.sdk.objects.popen import Popen
    from estiva.sdk.result import Result

    Word = str | os.PathLike[str]
    Command = str | Sequence[Word]
    Data = bytes | bytearray | memoryview | str
    Paths = Word | Sequence[Word]
    Environment = Mapping[str, str | None] | Sequence[str]


class Commands:
    """That half of a Container which is about commands in it."""

    engine: Engine
    id: str

    @told
    def exec(
        self,
        command: Command,
        *,
        input: Data | None = None,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: Callable[[str, bytes], object] | None = None,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
    ) -> Result:
        """Run one more command in it: its status and output; `timeout`, `max_output` and `on_output` as of
        `run`.

            print(box.exec(["sh", "-c", "echo $A"], env={"A": "1"}, user="nobody").output)

        At the timeout, or when the program ends, the command is killed with all that it has started. Raises
        EstivaError.
        """
        seconds = values.seconds(timeout)
        asked = {"env": env, "env_file": env_file, "user": user, "workdir": workdir, "privileged": privileged}
        ways = self.ways(command, asked, stdin=input is not None)
        return running.executed(ways, input, seconds, max_output, on_output)

    def ways(self, command: Any, asked: Mapping[str, Any], *, stdin: bool) -> Iterator[running.Way]:
        """In which one more command is started in it; `asked` are options of `exec`. Raises InvalidInput,
        NotFound, Conflict."""
        wanted = running.plan(self.engine, self.id, command, stdin=stdin, **asked)
        yield lambda stdio: exec_.launch(self.engine, wanted, stdio)

    @told
    def exec_detached(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
        tty: bool = False,
    ) -> None:
        """Start one more command in it and leave it alone: it goes on when the program has ended, and nobody
        hears what it writes."""
        wanted = running.plan(
            self.engine,
            self.id,
            command,
            env=env,
            env_file=env_file,
            user=user,
            workdir=workdir,
            privileged=privileged,
            tty=tty,
            bound=False,
        )
        running.detached(self.engine, wanted)

    @told
    def attach(self) -> Attached:
        """Its main process, in subprocess.Popen's shape: what it writes from now on, and its stdin if it has
        one. Raises Conflict for one that does not run.

        with box.attach() as main: print(main.stdout.readline())
        """
        from estiva.sdk.objects.attached import Attached

        return Attached(self.engine, self.id)

    @told
    def popen(
        self,
        command: Command,
        *,
        stdin: Any = -1,
        stdout: Any = -1,
        stderr: Any = -1,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
    ) -> Popen:
        """Start one more command in it, with its streams as subprocess.Popen has them.

            with box.popen("cat", text=True) as cat:
                print(cat.communicate("through\\n")[0])

        `stdin`, `stdout` and `stderr` are pipes unless said otherwise: subprocess.DEVNULL, STDOUT, a file or
        an fd; None is the program's own. `tty` gives it a terminal of `size` (rows, columns), with one
        stream. It ends with the program, and `kill` ends all that it has started. Raises EstivaError.
        """
        from estiva.sdk.objects.popen import Popen

        wanted = running.plan(
            self.engine,
            self.id,
            command,
            env=env,
            env_file=env_file,
            user=user,
            workdir=workdir,
            privileged=privileged,
            tty=tty,
        )
        return Popen(
            self.engine,
            wanted,
            (stdin, stdout, stderr),
            size,
            text=text,
            encoding=encoding,
            errors=errors,
            bufsize=bufsize,
        )
