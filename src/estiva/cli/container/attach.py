"""`attach`, and `start -a` of a container that runs: between our standard streams and a socket."""

from __future__ import annotations

import _signal
import os
import select

from estiva.cli.container.foreground import PASSED_ON, Left, detach_keys, exit_status, leave
from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import InvalidInput
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine import Engine
    from estiva.engine.containers.attach import Attached
    from estiva.engine.state.types import Outcome

DETACH = "\x10\x11"  # ctrl-p ctrl-q
CHUNK = 1 << 15


class Keys:
    """The keys that leave, found in what is typed."""

    def __init__(self, keys: str) -> None:
        self.keys = keys.encode()
        self.last = b""  # typed last, as far as it may begin them: passed on already

    def typed(self, data: bytes) -> tuple[bytes, bool]:
        """(what of it is for the container, whether they were typed)."""
        found = self.last + data
        at = found.find(self.keys)
        if at >= 0:
            return data[: max(0, at - len(self.last))], True
        self.last = found[len(found) - len(self.keys) + 1 :] if len(found) >= len(self.keys) else found
        return data, False


def attach_to(
    engine: Engine, ref: str, *, stdin: bool, keys: str = "", sig_proxy: bool = True, only_tty: bool = False
) -> int:
    """Attach to a running container until it ends or the user leaves; its exit status. With `only_tty`, as
    the verb `attach` has it, what is typed into a terminal must come from one, and who leaves is told so and
    gets 1: the container has not ended.
    """
    from estiva.engine.containers import attach as engine_attach

    link = engine_attach.attach(engine, ref)
    config = link.record["Config"]
    terminal = bool(config.get("Tty"))
    try:
        if only_tty and stdin and terminal and not os.isatty(0):  # as docker, also where nobody reads it
            raise InvalidInput("the input device is not a TTY", hint="--no-stdin only shows its output")
        stdin = stdin and bool(config.get("OpenStdin"))
        outcome = _attend(link, terminal, stdin, keys or DETACH, sig_proxy)
        if only_tty and outcome["event"] == "detached":
            write_all(2, b"read escape sequence\n")
            return 1
        return exit_status(outcome)
    except Left as left:
        return left.status
    finally:
        link.close()


def _attend(link: Attached, terminal: bool, stdin: bool, keys: str, sig_proxy: bool) -> Outcome:
    from estiva.linux import tty

    before: dict[int, Any] = {}
    saved: list[Any] | None = None
    try:
        for number in PASSED_ON if sig_proxy or terminal else ():
            before[number] = _signal.signal(
                number,
                leave if terminal else lambda number, _frame: link.order({"do": "signal", "signal": number}),
            )
        if terminal and stdin and os.isatty(0):
            saved = tty.raw(0)
        if terminal and os.isatty(1):

            def resize(*_: object) -> None:
                rows, columns = tty.window_size(1)
                link.order({"do": "resize", "rows": rows, "columns": columns})

            before[_signal.SIGWINCH] = _signal.signal(_signal.SIGWINCH, resize)
            rows, columns = tty.window_size(1)
            # another size first, so that what fills the screen draws it anew, as docker does
            link.order({"do": "resize", "rows": rows + 1, "columns": columns + 1})
            resize()
        return _copy(link, stdin, Keys(keys) if terminal else None)
    finally:
        if saved is not None:
            tty.restore(0, saved)
        for number, handler in before.items():
            _signal.signal(number, handler)


def _copy(link: Attached, stdin: bool, keys: Keys | None) -> Outcome:
    """Between the standard streams and the container, until one of them ends it."""
    channel = link.channel.fileno()
    once = bool(link.record["Config"].get("StdinOnce"))
    while True:
        poll = select.poll()
        poll.register(channel, select.POLLIN | (select.POLLOUT if link.waiting else 0))
        if stdin and not link.waiting:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll())
        if link.waiting:
            link.flush()
        if ready.get(channel, 0) & ~select.POLLOUT:
            found = link.receive()
            if not isinstance(found, tuple):
                return found
            write_all(*found)
        if 0 in ready:
            try:
                data = os.read(0, CHUNK)
            except OSError:
                data = b""
            wanted, leave = keys.typed(data) if keys is not None else (data, False)
            if wanted:
                link.type(wanted)
            if leave:
                return {"event": "detached"}
            if not data:
                stdin = False
                if once and keys is None:
                    link.order({"do": "eof"})


def attach(context: Context, options: Options) -> int:
    return attach_to(
        context.engine,
        options.arguments[0],
        stdin=not options.flag("no-stdin"),
        keys=detach_keys(options) if options.given("detach-keys") else "",
        sig_proxy=options.flag("sig-proxy", True),
        only_tty=True,
    )


ATTACH = Verb(
    attach,
    "CONTAINER",
    "Stay with a running container: its output, and its input if that is open",
    (
        ("", "detach-keys", TEXT, "KEYS", "leave its terminal by these (default ctrl-p,ctrl-q)"),
        ("", "no-stdin", FLAG, "", "don't pass stdin on"),
        ("", "sig-proxy", FLAG, "", "pass signals on to a command without a terminal (default true)"),
    ),
    least=1,
    most=1,
    examples=(("estiva attach web", "ctrl-p ctrl-q leaves a terminal again, with status 1"),),
)
