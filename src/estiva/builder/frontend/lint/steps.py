"""Rules on the instructions of a stage, with what is known where they stand."""

from __future__ import annotations

import posixpath

from estiva.builder.frontend import run_mounts
from estiva.builder.frontend.ignore import Matcher
from estiva.builder.frontend.instructions import (
    Command,
    Copy,
    Healthcheck,
    Pairs,
    Text,
    Typed,
    Words,
    quoted_words,
)
from estiva.builder.frontend.lint.rule import Report, Rule
from estiva.builder.frontend.syntax import Instruction
from estiva.builder.frontend.variables import Budget, Expander
from estiva.builder.struct import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


SECRETS = frozenset(
    ("apikey", "auth", "credential", "credentials", "key", "passwd", "password", "pword", "secret", "token")
)
NO_SECRETS = frozenset(("file", "public", "version"))
_UNSEEN = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")  # ARGs that are no variables

COPY_IGNORED_FILE = Rule("CopyIgnoredFile", "What COPY and ADD name is not left out by .dockerignore")
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat", "EXPOSE names ports of the container, without an address or a port of the host"
)
EXPOSE_PROTO_CASING = Rule("ExposeProtoCasing", "The protocol of EXPOSE is in small letters")
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended", "CMD and ENTRYPOINT are JSON lists: a shell between would not pass signals on"
)
LEGACY_KEY_VALUE_FORMAT = Rule("LegacyKeyValueFormat", "ENV and LABEL have a = between name and value")
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "A stage has one CMD, ENTRYPOINT and HEALTHCHECK: the last one counts",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv", "Secrets are mounted (RUN --mount=type=secret): ARG and ENV stay in the image"
)
UNDEFINED_VAR = Rule("UndefinedVar", "Variables are set before they are used")
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "The first WORKDIR is absolute: what another is relative to is the base image's affair",
)

RULES = (
    COPY_IGNORED_FILE, EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, JSON_ARGS_RECOMMENDED,
    LEGACY_KEY_VALUE_FORMAT, MULTIPLE_INSTRUCTIONS_DISALLOWED, SECRETS_USED_IN_ARG_OR_ENV, UNDEFINED_VAR,
    WORKDIR_RELATIVE_PATH,
)  # fmt: skip


@struct
class Scope:
    """What is known in a stage where an instruction stands.

    variables  ENV and ARGs with a value
    declared   the ARGs of the stage, with a value or not
    shell      whether there is a SHELL, of the base image's or the stage's
    workdir    whether a WORKDIR stands above
    known      whether the base image is
    ignored    what `.dockerignore` leaves out
    once       the last CMD, ENTRYPOINT and HEALTHCHECK of the stage
    """

    budget: Budget
    variables: dict[str, str] = {}
    declared: set[str] = set()
    shell: bool = False
    workdir: bool = False
    known: bool = True
    ignored: Matcher | None = None
    once: dict[str, Instruction] = {}


class _Words:
    """Expands the words of one instruction, and tells of variables that are not set."""

    def __init__(self, typed: Typed, scope: Scope, report: Report) -> None:
        self.typed = typed
        self.scope = scope
        self.report = report

    def __call__(self, text: str, *, document: bool = False) -> str:
        expand = Expander(self.scope.variables, self.typed.source.escape, self.scope.budget)
        result = expand.text(text) if document else expand.word(text)
        if self.scope.known:
            for name in sorted(expand.used - self.scope.variables.keys() - self.scope.declared):
                self._unset(name)
        return result

    def _unset(self, name: str) -> None:
        if name in _UNSEEN:
            return
        guess = self.report.near(name, self.scope.variables)
        self.report.add(UNDEFINED_VAR, self.typed.source, f"${name} is not set{guess}")


def step(typed: Typed, scope: Scope, report: Report) -> None:
    """The rules on one instruction. Raises InvalidInput for words that can't be expanded."""
    rule = _RULES.get(typed.name)
    if rule is not None:
        rule(typed, scope, report, _Words(typed, scope, report))
    if typed.name == "WORKDIR":
        scope.workdir = True


def _env(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Pairs)
    _legacy(typed, report)
    for name, value in typed.pairs:
        name = words(name)
        words(value or "")
        _secret(typed, name, report)


def _label(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Pairs)
    _legacy(typed, report)
    for name, value in typed.pairs:
        words(name)
        words(value or "")


def argument(typed: Pairs, name: str, default: str | None, scope: Scope, report: Report) -> None:
    """The rules on one name of an ARG: those before it in the same ARG are in `scope` already. `default` is
    None for one that is not looked at.
    """
    _secret(typed, name, report)
    if default is not None:
        _Words(typed, scope, report)(default)


def _legacy(typed: Pairs, report: Report) -> None:
    source = typed.source
    if "=" not in quoted_words(source.args, source.escape)[0]:
        name = typed.pairs[0][0]
        report.add(
            LEGACY_KEY_VALUE_FORMAT, source, f"{source.word} {name} VALUE is the old form of {name}=VALUE"
        )


def _secret(typed: Pairs, name: str, report: Report) -> None:
    parts = set(name.lower().split("_"))
    if parts & SECRETS and not parts & NO_SECRETS:
        report.add(
            SECRETS_USED_IN_ARG_OR_ENV, typed.source, f"{typed.name} {name} leaves a secret in the image"
        )


def _text(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Text)
    words(typed.text)


def _workdir(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Text)
    path = words(typed.text)
    if not scope.workdir and not path.startswith("/"):
        report.add(
            WORKDIR_RELATIVE_PATH,
            typed.source,
            f"where {path} is depends on the base image's WORKDIR, as no absolute one stands above",
        )


def _volume(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Words)
    for word in typed.words:
        words(word)


def _expose(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Words)
    expand = Expander(scope.variables, typed.source.escape, scope.budget)
    for word in sorted(typed.words):
        for port in expand.words(word):
            place, _, protocol = port.partition("/")
            if protocol != protocol.lower():
                report.add(
                    EXPOSE_PROTO_CASING, typed.source, f"the protocol of {port} should be in small letters"
                )
            if ":" in place:
                report.add(
                    EXPOSE_INVALID_FORMAT,
                    typed.source,
                    f"{port}: only the container's port counts, an address or a port of the host does not",
                )


def _copy(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Copy)
    for text in (typed.chown, typed.chmod, typed.checksum):
        words(text)
    sources = [words(source) for source in typed.sources]
    words(typed.destination)
    for document in typed.heredocs:
        if document.expand:
            words(document.text, document=True)
    ignored = scope.ignored
    if typed.from_ or ignored is None or not ignored or ignored.negations:
        return
    for source in sources:
        path = posixpath.normpath(source).lstrip("/") or "."
        out = ignored.everything if path == "." else "://" not in source and ignored.excluded(path)
        if out:
            report.add(
                COPY_IGNORED_FILE, typed.source, f"{typed.name} of {source}, which .dockerignore leaves out"
            )


def _run(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Command)
    for mount in typed.mounts:
        for _, value in run_mounts.fields(mount):
            words(value or "")


def _command(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Command)
    _once(typed, scope, report)
    if typed.argv is None and not scope.shell and scope.known:
        report.add(
            JSON_ARGS_RECOMMENDED,
            typed.source,
            f"{typed.source.word} is run by a shell, which does not pass signals on: a JSON list is not",
        )


def _healthcheck(typed: Typed, scope: Scope, report: Report, words: _Words) -> None:
    assert isinstance(typed, Healthcheck)
    _once(typed, scope, report)


def _once(typed: Typed, scope: Scope, report: Report) -> None:
    before = scope.once.get(typed.name)
    if before is not None:
        report.add(
            MULTIPLE_INSTRUCTIONS_DISALLOWED,
            before,
            f"this {typed.name} means nothing: another one follows in the stage",
        )
    scope.once[typed.name] = typed.source


_RULES: dict[str, Callable[[Typed, Scope, Report, _Words], None]] = {
    "ADD": _copy,
    "CMD": _command,
    "COPY": _copy,
    "ENTRYPOINT": _command,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "RUN": _run,
    "STOPSIGNAL": _text,
    "USER": _text,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
