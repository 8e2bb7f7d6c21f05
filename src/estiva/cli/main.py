"""The command line: finds the verb, reads its words, runs it, tells errors in one line (cold path).

A verb's module is imported only when the verb is used. Exit statuses are Docker's: verbs that run a command
end with its status, or 125 when Estiva itself failed, 126 or 127 when the command could not be executed.
"""

from __future__ import annotations

import gc
import os
import sys

from estiva import errors
from estiva.cli import verbs
from estiva.cli.context import Context, tell
from estiva.cli.verbs import ALIASES, BRIEF, DRIVERS, GLOBALS, GROUPS, LATER, VERBS
from estiva.cmdline import program
from estiva.cmdline.parser import FLAG, FlagError, HelpWanted, UsageError, parse, parse_verb

HELP = ("h", "help", FLAG, "", "")  # before the verb: told once the language is known
LOCALE = ("LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE")  # variables that may ask for another language

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def find(words: list[str]) -> tuple[str, tuple[str, str], list[str]]:
    """(the verb's full name, its entry, the words after it). Raises UsageError or HelpWanted."""
    name, rest = words[0], words[1:]
    if name in VERBS:
        return f"estiva {name}", VERBS[name], rest
    group = GROUPS.get(name)
    if name in LATER:
        from estiva.cli import refused

        raise errors.Unsupported(f"'{name}' is not supported yet", hint=refused.LATER.get(name, ""))
    if name in verbs.SWARM:
        raise errors.Unsupported(
            f"'{name}' is not supported: Estiva has no swarm",
            hint="docs/kubernetes.md, where one machine is not enough",
        )
    if group is None:
        raise unknown("estiva", name, [*VERBS, *GROUPS])
    if not rest or rest[0] in ("--help", "-h", "help"):
        raise HelpWanted
    verb = rest[0]
    if verb.startswith("-"):
        raise FlagError(f"unknown flag: {verb}", hint=f"see 'estiva {name} --help'")
    if verb not in group:
        verb = ALIASES.get(verb, verb)
    if verb in LATER and verb not in group and name in ("container", "system"):
        raise errors.Unsupported(f"'{name} {verb}' is not supported yet")
    if verb not in group:
        from estiva.cli import refused

        if f"{name} {verb}" in refused.VERBS:
            why = refused.VERBS[f"{name} {verb}"]
            raise errors.Unsupported(f"'{name} {verb}' is not supported: {why}")
        raise unknown(f"estiva {name}", rest[0], list(group))
    return f"estiva {name} {verb}", group[verb], rest[1:]


def unknown(command: str, word: str, known: list[str]) -> UsageError:
    from estiva.cmdline.parser import nearest

    near = nearest(word, known)
    hint = f"did you mean '{near}'?" if near else f"see '{command} --help'"
    return UsageError(f"'{word}' is not a verb of {command}", hint=hint)


def speak(asked: str | None) -> None:
    """Tell people what is told in a language; None for that of the environment. Raises UsageError."""
    from estiva import speech

    name = speech.preferred() if asked is None else speech.known(asked)
    if not name:
        raise UsageError(f"no language {asked}", hint=f"the languages are {', '.join(speech.LANGUAGES)}")
    speech.choose(name, getattr(sys.stdout, "encoding", None) or "utf-8")


def prepare(words: list[str]) -> None:
    """Have a process ready for what these words of `run` seem to want."""
    from estiva.engine.launch import prefork

    alone = ("none", "host", "--network=none", "untrusted", "--profile=untrusted")
    allowed = any(word.startswith("--allow-host") for word in words)
    bridge = allowed or not any(word in alone for word in words)
    own = allowed or any(word.startswith("--net") for word in words)
    prefork.fork(bridge=bridge, own=bridge and own)


def run(words: list[str]) -> int:
    """Do what the words say; the exit status. Errors have been told."""
    if words[:1] == ["run"] and "--help" not in words:
        prepare(words)
    context = Context()
    failure, see = 1, "estiva"
    try:
        if any(os.environ.get(name, "").startswith("pt") for name in LOCALE):
            speak(None)
        options = parse((*GLOBALS, HELP), words, interspersed=False)
        if options.given("lang"):
            speak(options.text("lang"))
        if options.flag("help"):
            words = []
            raise HelpWanted
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
        if words[0] == "__complete":
            from estiva.cli import completion

            return completion.answer(context, words[1:])
        if words[0] == "oci":
            from estiva.ocicli import main as oci

            return oci.run([*words[1:], "--help"] if asked else words[1:])
        name, entry, rest = find(words)
        see = name
        if entry[0] in BRIEF:
            gc.disable()
        else:
            gc.enable()
            gc.set_threshold(20_000)  # modules make many objects, and no garbage
        verb = verbs.load(entry)
        failure = verb.failure
        if asked:
            raise HelpWanted
        return verb.action(context, parse_verb(verb, rest, name)) or 0
    except HelpWanted:
        from estiva.cli import help

        try:
            print(help.text(words))
        except BrokenPipeError:  # it is longer than what is written at the end only
            return _pipe_closed(0)
        return 0
    except errors.EstivaError as error:
        if context.debug:
            sys.excepthook(*sys.exc_info())
        if isinstance(error, FlagError) and error.message.startswith("unknown flag: --"):
            from estiva.cli import refused

            error = refused.explained(see, error)
        tell(error, see)
        return error.exit_status or (errors.status(error)[0] if failure == 125 else failure)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _pipe_closed(failure)
    except Exception as error:
        return unexpected(error, context.debug, failure)
    finally:
        context.tell_mended()


def unexpected(error: Exception, debug: bool, failure: int) -> int:
    """What no part of Estiva foresaw: the system's refusals in plain words, all else as an internal error."""
    if debug:
        sys.excepthook(type(error), error, error.__traceback__)
    exhausted = errors.exhausted(error)
    if exhausted is not None:
        tell(exhausted)
    elif isinstance(error, OSError) and error.errno:
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
    program.program(run)
