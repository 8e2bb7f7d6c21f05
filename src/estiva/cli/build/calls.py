"""`build --check` and `build --call`: a Dockerfile is asked, and nothing is built."""

from __future__ import annotations

import sys
from typing import NamedTuple

from estiva.cli.build import sources, words
from estiva.cmdline.parser import UsageError, boolean
from estiva.errors import Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.cmdline.parser import Options

KINDS = {
    "build": "build the image, which is what happens anyway",
    "check": "what is likely a mistake in the Dockerfile, or wrong",
    "outline": "what a target takes: arguments, secrets, agents",
    "targets": "the stages, each of which can be built",
    "subrequests.describe": "this list",
}
_OTHER_NAMES = {"lint": "check"}
_AROUND = 2  # lines of an excerpt before what it shows, and after
_WIDEST = 200  # characters of a line of it
_RULE = "-" * 20


class Call(NamedTuple):
    """What `--call` asks for: one of KINDS; `status` is whether warnings are a failure."""

    kind: str
    json: bool = False
    status: bool = True


def asked(options: Options) -> Call | None:
    """What is asked instead of a build, None for a build. Raises UsageError."""
    call = _parsed(options.text("call", "build"))
    if options.flag("check"):
        if options.given("call") and call.kind != "check":
            raise UsageError(f"--check and --call={call.kind} are two things", hint="give one of them")
        call = call._replace(kind="check")
    return None if call.kind == "build" else call


def _parsed(text: str) -> Call:
    kind, *fields = text.split(",")
    if "=" in kind:
        kind, fields = "build", [kind, *fields]
    kind = _OTHER_NAMES.get(kind, kind)
    if kind not in KINDS:
        raise UsageError(f"there is no --call={oneline(kind)}", hint="it is one of " + ", ".join(KINDS))
    call = Call(kind)
    for field in fields:
        key, _, value = field.partition("=")
        if key == "format" and value in ("json", "text"):
            call = call._replace(json=value == "json")
        elif key == "ignorestatus" and boolean(value) is not None:
            call = call._replace(status=boolean(value) is False)
        else:
            raise UsageError(
                f"invalid --call: unexpected '{oneline(field)}'",
                hint="format=text, format=json or ignorestatus=true",
            )
    return call


def answer(context: Context, options: Options, call: Call) -> int:
    """Ask, and print the answer; the exit status: 1 for a check that found something."""
    if call.kind == "subrequests.describe":
        if call.json:
            raise Unsupported("--call=subrequests.describe is for people only", hint="leave out format=json")
        _table(["NAME", "DESCRIPTION"], [[name, text] for name, text in KINDS.items()], 3)
        return 0
    directory, dockerfile, text = sources.sources(options)
    from estiva.engine.builds.call import call as ask

    document = ask(
        context.engine,
        call.kind,
        context=directory,
        dockerfile=dockerfile,
        dockerfile_text=text,
        build_args=words.arguments(options.many("build-arg")),
        build_contexts=words.pairs("build-context", options.many("build-context")),
        target=options.text("target") or None,
        platform=options.text("platform") or None,
        secrets=dict(words.secret(word) for word in options.many("secret")),
        ssh=dict(words.ssh(word) for word in options.many("ssh")),
    )
    return show(call, document)


def show(call: Call, document: dict[str, Any]) -> int:
    """Print an answer; the exit status, as above."""
    found = call.kind == "check" and bool(document["warnings"] or document.get("buildError"))
    if call.json:
        import json

        print(json.dumps(document, indent=2))
    else:
        _SHOW[call.kind](document)
    return int(found and call.status)


def _check(document: dict[str, Any]) -> None:
    import base64

    source = document["sources"][0]
    lines = base64.b64decode(source["data"]).decode("utf-8", "replace").split("\n")
    warnings, error = document["warnings"], document.get("buildError")
    if warnings:
        many = "1 warning has" if len(warnings) == 1 else f"{len(warnings)} warnings have"
        print(f"Check complete, {many} been found!")
    elif error is None:
        print("Check complete, no warnings found.")
    for warning in warnings:
        print(f"\nWARNING: {warning['ruleName']}\n{oneline(warning['detail'])}")
        _excerpt(source["filename"], lines, warning["location"], sys.stdout)
    if error is not None:
        sys.stdout.flush()
        print(f"{chr(10) if warnings else ''}ERROR: {oneline(error['message'])}", file=sys.stderr)
        _excerpt(source["filename"], lines, error["location"], sys.stderr)
        if error.get("hint"):
            print(f"hint: {oneline(error['hint'])}", file=sys.stderr)


def _excerpt(name: str, lines: list[str], location: dict[str, Any], file: Any) -> None:
    """The lines of a place with some around them, those of the place marked."""
    for place in location.get("ranges", []):
        first, last = place["start"]["line"], min(place["end"]["line"], place["start"]["line"] + 20)
        print(f"{oneline(name)}:{first}\n{_RULE}", file=file)
        for number in range(max(1, first - _AROUND), min(len(lines), last + _AROUND) + 1):
            mark = ">>>" if first <= number <= last else "   "
            print(f"{number:4} | {mark} {oneline(lines[number - 1])[:_WIDEST]}".rstrip(), file=file)
        print(_RULE, file=file)


def _targets(document: dict[str, Any]) -> None:
    rows = []
    for target in document["targets"]:
        name = target.get("name", "")
        if target.get("default"):
            name = f"{name} (default)".strip()
        rows.append([name, target.get("description", "")])
    _table(["TARGET", "DESCRIPTION"], rows, 1)


def _outline(document: dict[str, Any]) -> None:
    rows = [["TARGET:", document.get("name") or "(default)"]]
    rows += [["DESCRIPTION:", document["description"]]] if document.get("description") else []
    _table([], rows, 1)
    arguments = [
        [each["name"], each.get("value", ""), each.get("description", "")]
        for each in document.get("args", [])
    ]
    for titles, rows in (
        (["BUILD ARG", "VALUE", "DESCRIPTION"], arguments),
        (["SECRET", "REQUIRED"], _required(document.get("secrets", []))),
        (["SSH", "REQUIRED"], _required(document.get("ssh", []))),
    ):
        if rows:
            print()
            _table(titles, rows, 3)


def _required(found: list[dict[str, Any]]) -> list[list[str]]:
    return [[each["name"], "true" if each.get("required") else ""] for each in found]


def _table(titles: list[str], rows: list[list[str]], gap: int) -> None:
    rows = [*([titles] if titles else []), *([oneline(cell)[:_WIDEST] for cell in row] for row in rows)]
    widths = [max(map(len, column)) + gap for column in zip(*rows, strict=True)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


_SHOW = {"check": _check, "outline": _outline, "targets": _targets}
