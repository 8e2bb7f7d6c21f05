"""The command line: finds the verb, reads its words, runs it, tells errors in one line (cold path).

A verb's module is imported only when the verb is used. Exit statuses are Docker's: verbs that run a command
end with its status, or 125 when Estiva itself failed, 126 or 127 when the command could not be executed.
"""

from __future__ import annotations

import gc
import os
import sys

from estiva import cli, errors
from estiva.cli.parser import FLAG, TEXT, HelpWanted, UsageError, parse, parse_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from estiva.cli.parser import Verb
    from estiva.engine import Engine

GLOBALS = (
    ("", "root", TEXT, "DIR", "where images and containers are kept (default /var/lib/estiva)"),
    ("", "run-root", TEXT, "DIR", "where state is kept that a reboot may lose (default /run/estiva)"),
    ("", "storage-driver", TEXT, "NAME", "how layers are stored: erofs, erofs-lz4 or dir"),
    ("D", "debug", FLAG, "", "show the traceback of an error"),
    ("v", "version", FLAG, "", "show the version"),
)

DRIVERS = ("erofs", "erofs-lz4", "dir")

# verb -> (module in estiva.cli, name of its Verb there)
VERBS = {
    "run": ("run", "RUN"),
    "exec": ("execute", "EXEC"),
    "ps": ("ps", "PS"),
    "create": ("run", "CREATE"),
    "start": ("lifecycle", "START"),
    "stop": ("lifecycle", "STOP"),
    "restart": ("lifecycle", "RESTART"),
    "kill": ("lifecycle", "KILL"),
    "pause": ("lifecycle", "PAUSE"),
    "unpause": ("lifecycle", "UNPAUSE"),
    "wait": ("lifecycle", "WAIT"),
    "rm": ("lifecycle", "RM"),
    "rename": ("lifecycle", "RENAME"),
    "update": ("update", "UPDATE"),
    "stats": ("stats", "STATS"),
    "logs": ("logs", "LOGS"),
    "inspect": ("inspect", "INSPECT"),
    "top": ("contents", "TOP"),
    "port": ("contents", "PORT"),
    "diff": ("contents", "DIFF"),
    "export": ("contents", "EXPORT"),
    "commit": ("contents", "COMMIT"),
    "build": ("build", "BUILD"),
    "images": ("images", "IMAGES"),
    "rmi": ("images", "RMI"),
    "tag": ("images", "TAG"),
    "history": ("images", "HISTORY"),
    "save": ("archives", "SAVE"),
    "load": ("archives", "LOAD"),
    "import": ("archives", "IMPORT"),
    "pull": ("remote", "PULL"),
    "push": ("remote", "PUSH"),
    "login": ("remote", "LOGIN"),
    "logout": ("remote", "LOGOUT"),
    "search": ("copying", "SEARCH"),
    "version": ("system", "VERSION"),
    "info": ("system", "INFO"),
}

_CONTAINER = (
    "run", "exec", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm", "rename",
    "update", "stats", "logs", "top", "port", "diff", "export", "commit",
)  # fmt: skip

GROUPS = {
    "container": {
        **{name: VERBS[name] for name in _CONTAINER},
        "ls": VERBS["ps"],
        "inspect": ("inspect", "INSPECT_CONTAINER"),
        "prune": ("system", "PRUNE_CONTAINERS"),
    },
    "image": {
        **{
            name: VERBS[name]
            for name in ("build", "history", "import", "load", "pull", "push", "save", "tag")
        },
        "ls": VERBS["images"],
        "rm": VERBS["rmi"],
        "inspect": ("inspect", "INSPECT_IMAGE"),
        "prune": ("images", "PRUNE"),
        "from-host": ("archives", "FROM_HOST"),
        "copy": ("copying", "COPY"),
        "referrers": ("copying", "REFERRERS"),
        "layers": ("layers", "LAYERS"),
        "diff": ("layers", "DIFF"),
    },
    "volume": {
        "ls": ("volume", "LS"),
        "create": ("volume", "CREATE"),
        "inspect": ("volume", "INSPECT"),
        "rm": ("volume", "RM"),
        "prune": ("volume", "PRUNE"),
    },
    "registry": {"serve": ("registry", "SERVE"), "gc": ("registry", "GC")},
    "manifest": {
        "create": ("manifest", "CREATE"),
        "add": ("manifest", "ADD"),
        "annotate": ("manifest", "ANNOTATE"),
        "inspect": ("manifest", "INSPECT"),
        "push": ("manifest", "PUSH"),
        "remove": ("manifest", "REMOVE"),
        "rm": ("manifest", "RM"),
        "exists": ("manifest", "EXISTS"),
        "ls": ("manifest", "LS"),
    },
    "builder": {"build": VERBS["build"], "prune": ("builder", "PRUNE")},
    "system": {
        "df": ("system", "DF"),
        "prune": ("system", "PRUNE"),
        "check": ("system", "CHECK"),
        "info": ("system", "INFO"),
    },
}

# Docker's verbs that are known, and not there yet
LATER = frozenset(
    (
        "attach", "buildx", "checkpoint", "compose", "context", "cp", "events", "network",
        "plugin", "trust",
    )
)  # fmt: skip

LATER_HINTS = {
    "cp": "`estiva exec -i CONTAINER sh -c 'cat > /path' < file` copies one file in, `cat` one out",
    "network": "the networks are bridge, none, host and container:NAME",
}

# Verbs that are over, or wait, before a garbage collection could pay: it costs a cold start 0.8 ms.
BRIEF = ("run", "execute", "ps", "lifecycle", "inspect")

ALIASES = {"list": "ls", "ps": "ls", "remove": "rm", "delete": "rm", "images": "ls"}


class Context:
    """What a verb works with: the global options and the engine, opened on first use."""

    def __init__(self, root: str | None = None, run_root: str | None = None, debug: bool = False) -> None:
        self.root = root
        self.run_root = run_root
        self.debug = debug
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            from estiva.engine import Engine

            self._engine = Engine(self.root, self.run_root, direct=True)
        return self._engine

    def each(
        self, words: Iterable[str], action: Callable[[str], object], *, missing_is_fine: bool = False
    ) -> int:
        """Do `action` for every word and print the word; an error is told and the rest still done."""
        status = 0
        for word in words:
            try:
                action(word)
            except errors.EstivaError as error:
                tell(error)
                if not (missing_is_fine and isinstance(error, errors.NotFound)):
                    status = 1
            else:
                print(word)
        return status


def tell(error: errors.EstivaError, see: str = "") -> None:
    """An error for people: one line, then what can be done about it."""
    lines = [f"estiva: {errors.brief(error.message)}"]
    if error.hint:
        lines.append(f"hint: {errors.brief(error.hint)}")
    elif see and isinstance(error, UsageError):
        lines.append(f"hint: see '{see} --help'")
    sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")


def load(entry: tuple[str, str]) -> Verb:
    """The Verb that a table's entry names."""
    module = __import__(f"estiva.cli.{entry[0]}", fromlist=[entry[1]])
    verb: Verb = getattr(module, entry[1])
    return verb


def find(words: list[str]) -> tuple[str, tuple[str, str], list[str]]:
    """(the verb's full name, its entry, the words after it). Raises UsageError or HelpWanted."""
    name, rest = words[0], words[1:]
    if name in VERBS:
        return f"estiva {name}", VERBS[name], rest
    group = GROUPS.get(name)
    if name in LATER:
        raise errors.Unsupported(f"'{name}' is not supported yet", hint=LATER_HINTS.get(name, ""))
    if group is None:
        raise unknown("estiva", name, [*VERBS, *GROUPS])
    if not rest or rest[0] in ("--help", "-h", "help"):
        raise HelpWanted
    verb = rest[0]
    if verb not in group:
        verb = ALIASES.get(verb, verb)
    if verb in LATER and verb not in group and name == "container":
        raise errors.Unsupported(f"'{name} {verb}' is not supported yet", hint=LATER_HINTS.get(verb, ""))
    if verb not in group:
        raise unknown(f"estiva {name}", rest[0], list(group))
    return f"estiva {name} {verb}", group[verb], rest[1:]


def unknown(command: str, word: str, known: list[str]) -> UsageError:
    from estiva.cli.parser import nearest

    near = nearest(word, known)
    hint = f"did you mean '{near}'?" if near else f"see '{command} --help'"
    return UsageError(f"'{word}' is not a verb of {command}", hint=hint)


def run(words: list[str]) -> int:
    """Do what the words say; the exit status. Errors have been told."""
    if words[:1] == ["run"] and "--help" not in words:
        from estiva.engine import ahead

        ahead.fork(bridge=not any(word in ("none", "host", "--network=none") for word in words))
    context = Context()
    failure, see = 1, "estiva"
    try:
        options = parse(GLOBALS, words, interspersed=False)
        context = Context(
            options.text("root") or None, options.text("run-root") or None, options.flag("debug")
        )
        if options.given("storage-driver"):
            driver = options.text("storage-driver")
            if driver not in DRIVERS:
                raise UsageError(f"no storage driver {driver}", hint=f"the drivers are {', '.join(DRIVERS)}")
            os.environ["ESTIVA_STORAGE_DRIVER"] = driver
        words = options.arguments
        if options.flag("version"):
            words = ["version", "--short"]
        asked = words[:1] == ["help"]
        words = words[asked:]
        if not words:
            raise HelpWanted
        if words[0] == "oci":
            from estiva.cli.oci import main as oci

            return oci.run([*words[1:], "--help"] if asked else words[1:])
        name, entry, rest = find(words)
        see = name
        if entry[0] in BRIEF:
            gc.disable()
        else:
            gc.enable()
            gc.set_threshold(20_000)  # modules make many objects, and no garbage
        verb = load(entry)
        failure = verb.failure
        if asked:
            raise HelpWanted
        return verb.action(context, parse_verb(verb, rest, name)) or 0
    except HelpWanted:
        from estiva.cli import helping

        print(helping.text(words))
        return 0
    except errors.EstivaError as error:
        if context.debug:
            sys.excepthook(*sys.exc_info())
        tell(error, see)
        return errors.status(error)[0] if failure == 125 else failure
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _pipe_closed(failure)
    except Exception as error:
        return unexpected(error, context.debug, failure)


def unexpected(error: Exception, debug: bool, failure: int) -> int:
    """What no part of Estiva foresaw: the system's refusals in plain words, all else as an internal error."""
    if debug:
        sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, OSError) and error.errno:
        from errno import EACCES, EPERM, EROFS

        told = errors.from_os(error)
        if error.errno in (EACCES, EPERM, EROFS) and os.geteuid():
            told.hint = "Estiva needs root for this"
        tell(told)
    else:
        text = f"internal error: {type(error).__name__}: {error}"
        tell(
            errors.EngineError(
                text, hint="" if debug else "run it with --debug before the verb, and report it"
            )
        )
    return failure


def _pipe_closed(failure: int) -> int:
    """The reader of our output has gone, as `| head` does: end quietly, and don't fail again on flush."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    return failure


def main() -> NoReturn:
    """The entry point: never returns."""
    os.umask(os.umask(0o77) & 0o77)  # a umask that takes from the owner would take from our own state (K16)
    cli.program(run)
