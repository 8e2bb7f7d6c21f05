"""`estiva-oci`: the command line of an OCI runtime, as runc 1.3 has it (cold path).

Callers are programs: podman through conmon, docker and containerd through a shim. They read the exit status,
the last error of --log, or stderr, and look for runc's words in them.
"""

from __future__ import annotations

import os
import sys

from estiva import errors, files
from estiva.cmdline import program
from estiva.cmdline.parser import FALSE, FLAG, TEXT, TRUE, HelpWanted, UsageError, parse, parse_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from estiva.cmdline.parser import Options, Verb

    Action = Callable[["Context", Options], int | None]

SPEC_VERSION = "1.3.0"

GLOBALS = (
    ("", "root", TEXT, "DIR", "where the state of containers is kept (default /run/estiva-oci)"),
    ("", "log", TEXT, "FILE", "write messages to this file too (default stderr only)"),
    ("", "log-format", TEXT, "FORMAT", "of --log: text or json"),
    ("", "debug", FLAG, "", "log what is done; show the traceback of an error"),
    ("", "systemd-cgroup", FLAG, "", "cgroupsPath is SLICE:PREFIX:NAME"),
    ("", "rootless", TEXT, "BOOL", "do without a cgroup where none may be made: true, false, auto"),
    ("", "criu", TEXT, "PATH", ""),
    ("v", "version", FLAG, "", "show the version"),
)

# verb -> module in estiva.ocicli; its Verb there is the verb in upper case
VERBS = {
    "create": "create",
    "start": "start",
    "run": "create",
    "restore": "restore",
    "checkpoint": "checkpoint",
    "state": "inspect",
    "list": "inspect",
    "ps": "inspect",
    "kill": "control",
    "delete": "control",
    "pause": "control",
    "resume": "control",
    "update": "update",
    "exec": "exec",
    "events": "events",
    "spec": "spec",
    "features": "features",
}


_LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Context:
    """What a verb works with: the global options, the log."""

    def __init__(self) -> None:
        self.root = ""
        self.log_file = ""
        self.json = False
        self.debug = False
        self.systemd = False
        self.rootless = False  # there may be no right to make a cgroup, and that is fine without limits
        self.root_given = False
        self.failure = 1  # exit status of an error

    @property
    def cache(self) -> str:
        """Where compiled seccomp filters are kept."""
        from estiva.paths import Paths

        return Paths().cache

    def log(self, level: str, message: str) -> None:
        """A line to --log, or to stderr without it."""
        line = entry(level, message, self.json)
        if not self.log_file:
            sys.stderr.write(line)
            return
        try:
            fd = os.open(self.log_file, _LOG, 0o644)
            try:
                os.write(fd, line.encode("utf-8", "backslashreplace"))
            finally:
                os.close(fd)
        except OSError as error:
            sys.stderr.write(f"estiva-oci: {self.log_file} can't be written: {errors.reason(error)}\n")

    def warn(self, messages: list[str]) -> None:
        for message in messages:
            self.log("warning", message)

    def note(self, messages: list[str]) -> None:
        for message in messages:
            self.log("debug", message)


def entry(level: str, message: str, as_json: bool) -> str:
    """One line of a log in logrus's form, which callers of runc parse. Times are UTC."""
    import time

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    from estiva import fastjson

    if as_json:
        return fastjson.dumps({"level": level, "msg": message, "time": now}) + "\n"
    return f'time="{now}" level={level} msg={fastjson.dumps(message)}\n'


def default_root() -> str:
    """/run/estiva-oci, or $XDG_RUNTIME_DIR/estiva-oci for an ordinary user, also when he is root of a user
    namespace, as under podman. ESTIVA_OCI_ROOT in its place is for tests: ESTIVA_RUN_ROOT would reach only
    some of the calls of an engine, those of its monitor, and what they made would never be found again."""
    root = os.environ.get("ESTIVA_OCI_ROOT")
    if root:
        return os.path.abspath(root)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    ordinary = os.geteuid() != 0
    if runtime and not ordinary:
        from estiva.linux import procinfo

        ordinary = procinfo.in_user_namespace()
    return f"{runtime}/estiva-oci" if ordinary and runtime else "/run/estiva-oci"


def load(name: str) -> Verb:
    module = __import__(f"estiva.ocicli.{VERBS[name]}", fromlist=["x"])
    verb: Verb = getattr(module, name.upper())
    return verb


def run(words: list[str]) -> int:
    """Do what the words say; the exit status. Errors have been told."""
    context = Context()
    words = _dashes(words)
    try:
        options = parse(GLOBALS, words, interspersed=False)
        _globals(context, options)
        words = options.arguments
        if options.flag("version"):
            print(version())
            return 0
        if words[:1] == ["help"]:
            words = words[1:] + ["--help"]
        if not words or words[0] in ("--help", "-h"):
            raise HelpWanted
        if words[0] not in VERBS:
            raise _unknown(words[0])
        verb = load(words[0])
        context.failure = verb.failure
        if context.debug:
            context.log("debug", f"estiva-oci {version().split()[2]}, root {context.root}: {' '.join(words)}")
        return verb.action(context, parse_verb(verb, words[1:], f"estiva-oci {words[0]}")) or 0
    except HelpWanted:
        print(usage(words))
        return 0
    except errors.EstivaError as error:
        if context.debug:
            sys.excepthook(*sys.exc_info())
        return fail(context, error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return context.failure
    except Exception as error:
        if context.debug:
            sys.excepthook(type(error), error, error.__traceback__)
        exhausted = errors.exhausted(error)
        if exhausted is not None:
            return fail(context, exhausted)
        known = isinstance(error, OSError) and error.errno
        words_of = f"internal error: {type(error).__name__}: {error}"
        told = errors.from_os(error) if known and isinstance(error, OSError) else errors.EngineError(words_of)
        return fail(context, told)


# Callers of runc write long flags with one dash too, as Go's flag package had it.
_ONE_DASH = ("root", "log", "log-format", "debug", "systemd-cgroup", "version", "rootless")


def _dashes(words: list[str]) -> list[str]:
    """`-root X` as `--root X`, before the verb."""
    result = list(words)
    for index, word in enumerate(result):
        if not word.startswith("-"):
            if index and result[index - 1].lstrip("-") in ("root", "log", "log-format", "rootless", "criu"):
                continue
            break
        if word[1:].partition("=")[0] in _ONE_DASH:
            result[index] = "-" + word
    return result


def _globals(context: Context, options: Options) -> None:
    context.debug = options.flag("debug")
    context.systemd = options.flag("systemd-cgroup")
    context.root = os.path.abspath(options.text("root")) if options.text("root") else default_root()
    context.root_given = options.given("root")
    files.refuse_others(context.root)
    context.log_file = options.text("log")
    if context.log_file in ("/dev/stderr", "/dev/null"):
        context.log_file = "" if context.log_file == "/dev/stderr" else context.log_file
    if context.log_file:  # made at once, since callers read it whatever happens
        try:
            os.close(os.open(context.log_file, _LOG, 0o644))
        except OSError as error:
            path, context.log_file = context.log_file, ""
            raise errors.InvalidInput(f"--log {path} can't be opened: {errors.reason(error)}") from None
    form = options.text("log-format", "text")
    if form not in ("text", "json"):
        raise UsageError(f"invalid log-format: {form}", hint="text or json")
    context.json = form == "json"
    if options.given("criu"):  # as runc does since 1.1
        context.warn(["--criu has no effect: the one that is installed is used"])
    rootless = options.text("rootless", "auto")
    if rootless not in ("auto", *TRUE, *FALSE):
        raise UsageError(f"invalid --rootless: {rootless}", hint="true, false or auto")
    context.rootless = _rootless() if rootless == "auto" else rootless in TRUE


def _rootless() -> bool:
    """What `auto` means, as runc has it: an ordinary user, or one who is root of a user namespace only."""
    if os.geteuid():
        return True
    if os.environ.get("USER", "root") in ("", "root"):
        return False
    from estiva.linux import procinfo

    return procinfo.in_user_namespace()


def _unknown(word: str) -> UsageError:
    from estiva.cmdline.parser import nearest

    near = nearest(word, list(VERBS))
    return UsageError(f"'{word}' is not a verb of estiva-oci", hint=f"did you mean '{near}'?" if near else "")


def fail(context: Context, error: errors.EstivaError) -> int:
    """Tell an error to --log, for programs, and to stderr, for people and for programs without a log."""
    message = errors.brief(error.message)
    if context.log_file:
        context.log("error", message)
    sys.stdout.flush()
    hint = error.hint and sys.stderr.isatty()  # a program gets its one line
    sys.stderr.write(f"estiva-oci: {message}\n" + (f"hint: {errors.brief(error.hint)}\n" if hint else ""))
    return context.failure


def version() -> str:
    """runc's form: name and version, then what it is made for."""
    from estiva.version import __version__

    return f"estiva-oci version {__version__}\nspec: {SPEC_VERSION}\npython: {sys.version.split()[0]}"


def usage(words: list[str]) -> str:
    """The help of estiva-oci, or of the verb that `words` begin with."""
    if words and words[0] in VERBS:
        verb = load(words[0])
        lines = [f"usage: estiva-oci {words[0]} [options] {verb.usage}".rstrip(), "", verb.summary]
        table = verb.options
    else:
        lines = [
            "usage: estiva-oci [global options] VERB [options] ID",
            "",
            "An OCI runtime (runc's command line)",
        ]
        lines += ["", "verbs:"] + [f"  {name:<12}{load(name).summary}" for name in sorted(VERBS)]
        table = GLOBALS
    lines += ["", "options:"]
    for letter, name, _, metavar, text in table:
        if text:
            flags = (f"-{letter}, " if letter else "    ") + f"--{name} {metavar}".rstrip()
            lines.append(f"  {flags:<34} {text}")
    return "\n".join(lines)


def main() -> NoReturn:
    """The entry point: never returns."""
    program.program(run)
