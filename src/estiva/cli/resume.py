"""`system resume`, and the systemd unit that calls it when the machine has started."""

from __future__ import annotations

import os
import sys

from estiva.cmdline.parser import FLAG, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

# What it starts is the unit's as far as systemd knows: KillMode keeps it alive. With RemainAfterExit the unit
# is not started again by another that wants it.
UNIT = """[Unit]
Description=Start the containers of Estiva that ask for it by their restart policies
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target nss-lookup.target
RequiresMountsFor={root}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
KillMode=process
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def resume(context: Context, options: Options) -> int:
    """1 if one of them could not be started."""
    if options.flag("unit"):
        print(unit(context), end="")
        return 0
    from estiva.cli.context import tell
    from estiva.engine import resume as resuming
    from estiva.errors import oneline

    status = 0
    for name, error in resuming.resume(context.engine):
        if error is None:
            print(name, flush=True)
        else:
            error.message = f"{oneline(name)}: {error.message}"
            tell(error)
            status = 1
    return status


def unit(context: Context) -> str:
    """The text of the unit: for the program that runs now and, where they are not the usual ones, its
    roots."""
    return UNIT.format(command=command(context, ["system", "resume"]), root=quoted(context.engine.paths.root))


def command(context: Context, verb: list[str]) -> str:
    """The words for a unit that do a verb with the program that runs now and, where they are not the usual
    ones, its roots."""
    paths = context.engine.paths
    start = sys.orig_argv.index(sys.argv[0]) + 1 if sys.argv[0] in sys.orig_argv else 0
    words = sys.orig_argv[:start] or ["estiva"]
    words[0] = sys.executable if start else words[0]
    if start > 1:
        words[-1] = os.path.abspath(words[-1])
    for name, given, usual in (
        ("--root", paths.root, "/var/lib/estiva"),
        ("--run-root", paths.run_root, "/run/estiva"),
    ):
        if given != usual:
            words += [name, given]
    return " ".join(quoted(word) for word in [*words, *verb])


def quoted(word: str) -> str:
    """A word as systemd reads it (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers")."""
    word = word.replace("%", "%%")
    if word.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum():
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


RESUME = Verb(
    resume,
    "",
    "Start what restart policies ask for after the machine has started",
    (("", "unit", FLAG, "", "print a systemd unit that does so, and nothing else"),),
    most=0,
    examples=(
        ("estiva system resume", "also after a monitor was killed"),
        ("estiva system resume --unit > /etc/systemd/system/estiva-resume.service", "then enable it"),
    ),
)
