"""The texts of --help, made from the verbs' own tables."""

from __future__ import annotations

from estiva.cli import verbs as verb_table
from estiva.cli.context import local
from estiva.cmdline.parser import FLAG, LIST, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.cmdline.parser import Option, Verb

SECTIONS = (
    ("Common verbs", ("run", "exec", "ps", "build", "pull", "push", "images", "logs", "stop", "rm", "rmi")),
    (
        "Containers",
        (
            "create", "start", "restart", "kill", "pause", "unpause", "wait", "attach", "rename", "update",
            "stats", "why", "anatomy", "top", "port", "diff", "commit", "cp", "export", "compose",
        ),
    ),
    ("Images", ("bake", "tag", "history", "save", "load", "import")),
    ("Registries", ("login", "logout", "search")),
    ("Everything", ("inspect", "events", "info", "doctor", "lesson", "mcp", "version", "completion", "man")),
)  # fmt: skip

GROUP_SUMMARIES = {
    "container": "all verbs about containers, and prune",
    "image": "all verbs about images, prune, copy, layers, diff, referrers, from-host",
    "manifest": "manifest lists: create, add, annotate, inspect, push, rm",
    "snapshot": "snapshots of containers: ls, create, inspect, rm",
    "volume": "volumes: ls, create, inspect, rm, prune, export, import",
    "healthcheck": "run a container's health check now",
    "network": "networks: ls, create, inspect, rm, prune, connect, disconnect, reload",
    "registry": "serve a registry of your own",
    "api": "the Docker Engine API: serve, units",
    "builder": "what builds keep for the next ones: du, prune, rm, export",
    "system": "disk usage, events, clean-up, consistency check, resume, reset",
}
NAME_WIDTH = 12


def text(words: Sequence[str]) -> str:
    """The help of the verb or group that `words` begin with; of Estiva itself without one."""
    if not words or words[0] not in verb_table.VERBS and words[0] not in verb_table.GROUPS:
        return overview()
    if words[0] in verb_table.VERBS:
        return verb_help(verb_table.load(verb_table.VERBS[words[0]]), f"estiva {words[0]}")
    group = verb_table.GROUPS[words[0]]
    verb = words[1] if len(words) > 1 else ""
    if verb not in group:
        verb = verb_table.ALIASES.get(verb, verb)
    if verb in group:
        return verb_help(verb_table.load(group[verb]), f"estiva {words[0]} {verb}")
    lines = [
        f"{local('Usage:')} estiva {words[0]} VERB",
        "",
        local(GROUP_SUMMARIES[words[0]]),
        "",
        local("Verbs:"),
    ]
    lines += [_verb_line(name, verb_table.load(entry).summary) for name, entry in group.items()]
    lines += ["", local(f"See 'estiva {words[0]} VERB --help' for one verb.")]
    return "\n".join(lines)


def overview() -> str:
    lines = [
        f"{local('Usage:')} estiva [OPTIONS] VERB",
        "",
        local("Estiva builds container images, runs them isolated, and moves them to and from registries."),
    ]
    for title, verbs in SECTIONS:
        lines += ["", f"{local(title)}:"]
        lines += [_verb_line(verb, verb_table.load(verb_table.VERBS[verb]).summary) for verb in verbs]
    lines += ["", local("Groups:")]
    lines += [_verb_line(group, summary) for group, summary in GROUP_SUMMARIES.items()]
    lines += ["", local("Options before the verb:"), *_options(verb_table.GLOBALS)]
    lines += ["", local("See 'estiva VERB --help' for one verb.")]
    return "\n".join(lines)


def verb_help(verb: Verb, name: str) -> str:
    shown = sorted((option for option in verb.options if option[4]), key=lambda option: option[1])
    words = " ".join(word for word in (name, "[OPTIONS]" if shown else "", verb.usage) if word)
    lines = [f"{local('Usage:')} {words}", "", local(verb.summary)]
    if shown:
        lines += ["", local("Options:"), *_options(shown)]
    if verb.examples:
        lines += ["", local("Examples:")]
        width = max(len(command) for command, _ in verb.examples)
        lines += [f"  {command:{width}}  # {what}" for command, what in verb.examples]
    return "\n".join(lines)


def _verb_line(verb: str, summary: str) -> str:
    return f"  {verb:{NAME_WIDTH}}{local(summary)}"


def _options(options: Sequence[Option]) -> list[str]:
    heads = [_head(option) for option in options]
    width = max(len(head) for head in heads) + 2
    return [f"  {head:{width}}{option[4]}" for head, option in zip(heads, options, strict=True)]


def _head(option: Option) -> str:
    letter = f"-{option[0]}, " if option[0] else "    "
    if option[2] == WORD:
        return f"{letter}--{option[1]}[={option[3]}]"
    if option[2] == FLAG:
        return f"{letter}--{option[1]}"
    more = "..." if option[2] == LIST and not option[3].endswith("...") else ""
    return f"{letter}--{option[1]} {option[3]}{more}"
