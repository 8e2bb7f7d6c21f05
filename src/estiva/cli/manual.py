"""`man`: manual pages in roff (man(7)), made from the tables that --help is made from."""

from __future__ import annotations

import os

from estiva.cli import help
from estiva.cli import verbs as verb_table
from estiva.cmdline.parser import BARE, LIST, WORD, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from estiva.cli.context import Context
    from estiva.cmdline.parser import Option

ENVIRONMENT = (
    ("ESTIVA_ROOT", "as --root"),
    ("ESTIVA_RUN_ROOT", "as --run-root"),
    ("ESTIVA_STORAGE_DRIVER", "as --storage-driver"),
    ("ESTIVA_CGROUP_PARENT", "the cgroup above all containers (/estiva)"),
    ("ESTIVA_BRIDGE", "the name of the bridge (estiva0)"),
    ("ESTIVA_CDI_SPEC_DIRS", "where CDI specs are (/etc/cdi:/var/run/cdi)"),
    ("ESTIVA_SETTINGS", "the file of settings (/etc/estiva/settings.json)"),
    ("ESTIVA_REGISTRIES", "the file of registries"),
    ("ESTIVA_REGISTRY_PLAIN_HTTP", "registries, HOST[:PORT],..., to speak to without TLS"),
    ("ESTIVA_REGISTRY_CA", "a PEM file of further certificate authorities"),
    ("DOCKER_CONFIG", "the folder of config.json, which has the credentials of registries"),
)
FILES = (
    ("/var/lib/estiva", "images, containers and volumes"),
    ("/run/estiva", "state that a reboot may lose"),
    ("/etc/estiva/registries.toml", "mirrors, certificates and time limits of registries"),
)
EXEC = "126 when it could not be started, 1 when it did not come to that, and with -d for all errors."
RUNNING = "125 when Estiva itself failed, 126 when the command can't be executed, 127 when it isn't there,"


def roff(text: str) -> str:
    """Text as it is: no character of it means anything to roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped[:1] == "." else escaped


def bold(text: str) -> str:
    return f"\\fB{roff(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{roff(text)}\\fR"


def page(name: str, summary: str, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A page called `name`, such as estiva-run, of (heading, lines)."""
    from estiva.version import __version__

    lines = [f'.TH "{roff(name.upper())}" 1 "" "Estiva {__version__}" "Estiva"']
    lines += [".SH NAME", f"{roff(name)} \\- {roff(summary)}"]
    for heading, body in parts:
        if body:
            lines += [f".SH {heading}", *body]
    return "\n".join(lines) + "\n"


def entries(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Tagged paragraphs of (head in roff, text)."""
    return [line for head, text in rows for line in (".TP", head, roff(text))]


def options(table: Sequence[Option]) -> list[str]:
    rows = []
    for letter, name, kind, metavar, text in sorted(table, key=lambda option: option[1]):
        if text:
            head = f"{bold('-' + letter)}, {bold('--' + name)}" if letter else bold("--" + name)
            more = " ..." if kind == LIST and not metavar.endswith("...") else ""
            head += f"[={italic(metavar)}]" if kind == WORD else ""
            rows.append((head if kind in BARE else f"{head} {italic(metavar)}{more}", text))
    return entries(rows)


def verb_page(command: str, verb: Verb) -> str:
    """The page of `estiva run` and the like."""
    shown = any(option[4] for option in verb.options)
    words = [bold(command), *(["[" + italic("OPTIONS") + "]"] if shown else []), roff(verb.usage)]
    examples = [line for text, what in verb.examples for line in (".TP", bold(text), roff(what) or "\\&")]
    status = "0, or 1 after an error."
    if verb.failure == 125:
        status = f"That of the command; {RUNNING} 128+n after signal n."
    elif command.endswith(" exec"):
        status = f"That of the command; {EXEC}"
    elif verb.failure != 1:
        status = f"That of the command, or {verb.failure} after an error."
    top = command.partition(" ")[0]
    return page(
        command.replace(" ", "-"),
        verb.summary,
        (
            ("SYNOPSIS", [" ".join(word for word in words if word)]),
            ("DESCRIPTION", [f"{roff(verb.summary)}."]),
            ("OPTIONS", options(verb.options)),
            ("EXIT STATUS", [roff(status)]),
            ("EXAMPLES", examples),
            ("SEE ALSO", [f"{bold(top)}(1)"]),
        ),
    )


def overview() -> str:
    """estiva(1)."""
    parts: list[tuple[str, Sequence[str]]] = [
        ("SYNOPSIS", [f"{bold('estiva')} [{italic('OPTIONS')}] {italic('VERB')} ..."]),
        ("DESCRIPTION", [
            "Estiva builds container images from a Dockerfile, runs them as isolated and limited processes,",
            "and moves them to and from registries. There is no daemon.",
            roff("Verbs, options and exit statuses are Docker's; what is not there yet says so."),
        ]),
        ("OPTIONS", options(verb_table.GLOBALS)),
    ]  # fmt: skip
    for title, names in help.SECTIONS:
        rows = [
            (f"{bold(f'estiva-{name}')}(1)", verb_table.load(verb_table.VERBS[name]).summary)
            for name in names
        ]
        parts.append((title.upper(), entries(rows)))
    rows = [(f"{bold(f'estiva-{name}')}(1)", text) for name, text in help.GROUP_SUMMARIES.items()]
    parts += [
        ("GROUPS", entries(rows)),
        ("ENVIRONMENT", entries([(bold(name), text) for name, text in ENVIRONMENT])),
        ("FILES", entries([(italic(name), text) for name, text in FILES])),
        ("EXIT STATUS", [
            roff("That of the command for run, start -a and exec;"), roff(RUNNING),
            roff("128+n after signal n. All other verbs end with 1 after an error."),
        ]),
        ("SEE ALSO", [f"{bold('estiva-oci')}(1)"]),
    ]  # fmt: skip
    return page("estiva", "build, run and ship container images", parts)


def group_page(group: str) -> str:
    """estiva-image(1) and the like: the verbs of a group."""
    rows = [
        (f"{bold(f'estiva-{group}-{name}')}(1)", verb_table.load(entry).summary)
        for name, entry in verb_table.GROUPS[group].items()
    ]
    return page(
        f"estiva-{group}",
        help.GROUP_SUMMARIES[group],
        (
            ("SYNOPSIS", [f"{bold(f'estiva {group}')} {italic('VERB')} ..."]),
            ("VERBS", entries(rows)),
            ("SEE ALSO", [f"{bold('estiva')}(1)"]),
        ),
    )


def oci_pages() -> Iterator[tuple[str, str]]:
    """(name, text) of estiva-oci and of its verbs."""
    from estiva.ocicli import main as oci

    verbs = {name: oci.load(name) for name in sorted(oci.VERBS)}
    rows = [(f"{bold(f'estiva-oci-{name}')}(1)", verb.summary) for name, verb in verbs.items()]
    yield (
        "estiva-oci",
        page(
            "estiva-oci",
            "an OCI runtime with runc's command line",
            (
                (
                    "SYNOPSIS",
                    [f"{bold('estiva-oci')} [{italic('OPTIONS')}] {italic('VERB')} ... {italic('ID')}"],
                ),
                ("OPTIONS", options(oci.GLOBALS)),
                ("VERBS", entries(rows)),
                ("SEE ALSO", [f"{bold('estiva')}(1)"]),
            ),
        ),
    )
    for name, verb in verbs.items():
        yield f"estiva-oci-{name}", verb_page(f"estiva-oci {name}", verb)


def pages() -> dict[str, str]:
    """Name -> text of every page. A verb that a group has too is a reference there to the one page."""
    found = {"estiva": overview()}
    where = {}
    for name, entry in verb_table.VERBS.items():
        found[f"estiva-{name}"] = verb_page(f"estiva {name}", verb_table.load(entry))
        where[entry] = f"estiva-{name}"
    for group, verbs in verb_table.GROUPS.items():
        found[f"estiva-{group}"] = group_page(group)
        for name, entry in verbs.items():
            own = f"estiva-{group}-{name}"
            known = where.setdefault(entry, own)
            text = verb_page(f"estiva {group} {name}", verb_table.load(entry))
            found[own] = text if known == own else f".so man1/{known}.1\n"
    return found | dict(oci_pages())


def man(context: Context, options: Options) -> None:
    if not options.arguments:
        print(overview(), end="")
        return
    folder = f"{options.arguments[0]}/man1"
    os.makedirs(folder, exist_ok=True)
    from estiva.files import atomic_write

    written = pages()
    for name, text in written.items():
        atomic_write(f"{folder}/{name}.1", text.encode(), mode=0o644, sync=False)
    print(f"{len(written)} pages in {folder}")


MAN = Verb(
    man,
    "[FOLDER]",
    "Print the manual page of estiva, or write the pages of all verbs to a folder's man1",
    most=1,
    examples=(
        ("estiva man | man -l -", "read it"),
        ("estiva man /usr/local/share/man", "then: man estiva-run"),
    ),
)
