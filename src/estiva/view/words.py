"""The anatomy in words: sections of rows, for any drawing that is made of text."""

from __future__ import annotations

from dataclasses import dataclass

from estiva.speech import count, say, translated
from estiva.view.network import reach
from estiva.view.shapes import Anatomy, Interface, Limit, Process

SHOWN = 200  # rows of one section
DEEP = 40  # levels of a tree that are drawn
PLAIN, GOOD, BAD, DIM = "", "good", "bad", "dim"  # tones of a row


@dataclass(frozen=True, slots=True)
class Row:
    """`cells` of one line; those of a section without `heads` are one text each. `level` is how deep it lies
    in a tree."""

    cells: tuple[str, ...]
    level: int = 0
    tone: str = PLAIN


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def size(number: float) -> str:
    """Bytes for a table: "52.4 MiB"."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def sections(body: Anatomy) -> list[Section]:
    """All of it, in the order from the process outwards to the disk."""
    made = [
        _head(body),
        _processes(body),
        _users(body),
        _namespaces(body),
        _network(body),
        _listening(body),
        _limits(body),
        _pressure(body),
        _rights(body),
        _capabilities(body),
        _mounts(body),
        _layers(body),
        _writable(body),
        _unseen(body),
    ]
    return [_short(section) for section in made if section.rows]


def _short(section: Section) -> Section:
    more = len(section.rows) - SHOWN
    if more <= 0:
        return section
    rest = Row((count(more, "... and {n} more", "... and {n} more"),), 0, DIM)
    return Section(section.title, section.heads, (*section.rows[:SHOWN], rest))


def _texts(title: str, *lines: str, tone: str = PLAIN) -> Section:
    return Section(title, (), tuple(Row((line,), 0, tone) for line in lines if line))


def _head(body: Anatomy) -> Section:
    if body.kind == "image":
        title = say("image {name}", name=body.name or body.id[:19])
    else:
        title = say("container {name} ({status})", name=body.name, status=body.status)
    config = body.config
    lines = [
        *map(translated, body.told),
        say("id: {id}", id=body.id),
        say("image: {image}", image=body.image) if body.kind == "container" else "",
        say("made: {when}", when=body.created) if body.created else "",
        say("command: {words}", words=" ".join(config.command)) if config.command else "",
        say("user: {user}", user=config.user) if config.user else "",
        say("working directory: {path}", path=config.directory),
        say("variables: {names}", names=" ".join(config.environment)) if config.environment else "",
        say("exposes: {ports}", ports=" ".join(config.exposed)) if config.exposed else "",
        say("containers: {names}", names=" ".join(body.containers)) if body.containers else "",
    ]
    return _texts(title, *lines)


def _processes(body: Anatomy) -> Section:
    children: dict[int, list[Process]] = {}
    for process in body.processes:
        children.setdefault(process.parent, []).append(process)
    rows: list[Row] = []
    waiting = [(process, 0) for process in reversed(children.get(0, []))]
    while waiting:
        process, level = waiting.pop()
        rows.append(_process(process, level))
        waiting += [(child, level + 1) for child in reversed(children.get(process.pid, []))]
    left = body.process_count - len(body.processes)
    if left > 0:
        rows.append(Row((count(left, "and {n} more process", "and {n} more processes"),), 0, DIM))
    heads = (say("inside"), say("outside"), say("user inside"), say("user outside"), say("memory"))
    title = count(body.process_count, "{n} process", "{n} processes")
    return Section(title, (*heads, say("state"), say("command")), tuple(rows))


def _process(process: Process, level: int) -> Row:
    inner = process.user_inside or (str(process.uid_inside) if process.uid_inside >= 0 else "?")
    branch = "  " * min(level, DEEP) + ("`- " if level else "")
    came = say(" (came by exec)") if process.origin == "exec" else ""
    return Row(
        (
            str(process.inside or "?"),
            str(process.pid),
            inner,
            process.user or str(process.uid),
            size(process.memory),
            process.state,
            f"{branch}{process.command}{came}",
        ),
        level,
        GOOD if process.origin == "init" else PLAIN,
    )


def _users(body: Anatomy) -> Section:
    rows = [
        Row((kind, f"{m.inside}-{m.inside + m.size - 1}", f"{m.outside}-{m.outside + m.size - 1}"))
        for kind, table in ((say("users"), body.users), (say("groups"), body.groups))
        for m in table
    ]
    return Section(say("ids"), ("", say("inside"), say("on the host")), tuple(rows))


def _namespaces(body: Anatomy) -> Section:
    rows = [
        Row(
            (
                each.kind,
                str(each.id),
                say("the host") if each.host else ", ".join(each.shared) or say("nobody"),
                each.differs,
            ),
            tone=DIM if each.host else PLAIN,
        )
        for each in body.namespaces
    ]
    return Section(say("namespaces"), (say("kind"), say("number"), say("shared with"), ""), tuple(rows))


def _network(body: Anatomy) -> Section:
    net = body.network
    if net is None:
        return _texts("")
    rows = [Row((say("interface"), each.name, _interface(each))) for each in net.interfaces]
    rows += [
        Row((say("route"), each.destination, _route(each.gateway, each.interface))) for each in net.routes
    ]
    rows += [
        Row((say("port"), f"{each.container}/{each.protocol}", f"<- {each.address}:{each.host}"))
        for each in net.ports
    ]
    title = say("network {mode}", mode=net.mode)
    if net.networks and net.networks != (net.mode,):
        title += ": " + ", ".join(net.networks)
    return Section(title, ("", "", ""), tuple(rows))


def _interface(each: Interface) -> str:
    words = [", ".join(each.addresses) or say("no address")]
    if not each.up:
        words.append(say("down"))
    if each.mac and each.mac.strip("0:"):
        words.append(each.mac)
    words.append(say("mtu {mtu}", mtu=each.mtu))
    if each.received or each.sent:
        words.append(say("{got} received, {sent} sent", got=size(each.received), sent=size(each.sent)))
    return ", ".join(words)


def _route(gateway: str, interface: str) -> str:
    if gateway:
        return say("by {gateway} on {interface}", gateway=gateway, interface=interface)
    return say("on {interface}", interface=interface)


def _listening(body: Anatomy) -> Section:
    listening = body.network.listening if body.network is not None else ()
    rows = [Row((each.protocol, str(each.port), each.address, reach(each))) for each in listening]
    return Section(say("listens on"), ("", say("port"), say("address"), ""), tuple(rows))


def _amount(limit: Limit, value: float | None) -> str:
    if value is None:
        return say("none")
    if limit.unit == "bytes":
        return size(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _limits(body: Anatomy) -> Section:
    if body.cgroup is None:
        return _texts("")
    rows = []
    for limit in body.cgroup.limits:
        used = "" if limit.name in ("cpu", "cpuset") else _amount(limit, limit.used)
        most = _amount(limit, limit.peak) if limit.peak is not None else ""
        wanted = "" if limit.name == "cpuset" else _amount(limit, limit.limit)  # it says where, not how much
        cells = (say(limit.name), wanted, used, most, limit.says)
        rows.append(Row(cells, tone=BAD if limit.met else PLAIN))
    title = say("cgroup {version} {path}", version=body.cgroup.version, path=body.cgroup.path)
    if body.cgroup.frozen:
        title += say(" (frozen)")
    return Section(title, ("", say("limit"), say("used"), say("most"), ""), tuple(rows))


def _pressure(body: Anatomy) -> Section:
    pressure = body.cgroup.pressure if body.cgroup is not None else ()
    rows = [
        Row(
            (
                each.resource,
                *(f"{value:.1f} %" for value in (each.some10, each.some60, each.full10, each.full60)),
            ),
            tone=BAD if each.some10 >= 10 else PLAIN,
        )
        for each in pressure
    ]
    heads = (say("some waited, 10 s"), say("60 s"), say("all waited, 10 s"), say("60 s"))
    return Section(say("pressure"), ("", *heads), tuple(rows))


def _rights(body: Anatomy) -> Section:
    rights = body.rights
    if rights is None:
        return _texts("")
    lines = [*rights.says]
    if rights.label:
        lines.append(say("label: {label}", label=rights.label))
    if rights.lacking and rights.capabilities:
        lines.append(say("without {names}", names=" ".join(rights.lacking)))
    return _texts(say("what it may do"), *lines)


def _capabilities(body: Anatomy) -> Section:
    held = body.rights.capabilities if body.rights is not None else ()
    rows = [Row((each.name, each.words), tone=PLAIN if each.default else BAD) for each in held]
    return Section(say("capabilities"), ("", ""), tuple(rows))


def _mounts(body: Anatomy) -> Section:
    rows = [
        Row(
            (
                each.destination,
                each.kind,
                say("read-only") if each.read_only else say("read-write"),
                each.source,
                " ".join(each.flags),
            ),
            tone=DIM if each.kind in ("mask", "guard", "kernel") else PLAIN,
        )
        for each in body.mounts
    ]
    return Section(say("mounts"), (say("where"), say("kind"), "", say("source"), say("flags")), tuple(rows))


def _layers(body: Anatomy) -> Section:
    rows = [
        Row((str(len(body.layers) - place), size(each.size), each.diff_id[7:19], each.instruction))
        for place, each in enumerate(reversed(body.layers))
    ]
    total = size(sum(each.size for each in body.layers))
    title = count(len(body.layers), "{n} layer", "{n} layers") + f", {total}"
    return Section(title, ("", say("size"), say("layer"), say("made by")), tuple(rows))


def _writable(body: Anatomy) -> Section:
    held = body.writable
    if held is None:
        return _texts("")
    lines = [
        say(
            "{size} in {files} files and {folders} folders; {removed} of the image's removed",
            size=size(held.size),
            files=held.files,
            folders=held.folders,
            removed=held.removed,
        )
        + ("" if held.complete else say(" (as far as it was looked at)"))
    ]
    lines += [f"{size(each.size):>10}  {each.path}" for each in held.largest]
    return _texts(say("read-write layer"), *lines)


def _unseen(body: Anatomy) -> Section:
    return _texts(say("could not be looked at"), *map(translated, body.unseen), tone=BAD)


def plain(body: Anatomy) -> str:
    """All of it as text without colours."""
    return "\n\n".join(_plain(section) for section in sections(body)) + "\n"


def _plain(section: Section) -> str:
    lines = [section.title]
    if not section.heads:
        return "\n".join([*lines, *(f"  {row.cells[0]}" for row in section.rows)])
    full = [row for row in section.rows if len(row.cells) == len(section.heads)]
    table = (
        [section.heads, *(row.cells for row in full)] if any(section.heads) else [row.cells for row in full]
    )
    widths = (
        [min(48, max(len(cells[at]) for cells in table)) for at in range(len(section.heads))] if table else []
    )
    for cells in table:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        lines.append("  " + "  ".join(padded).rstrip())
    lines += [f"  {row.cells[0]}" for row in section.rows if len(row.cells) != len(section.heads)]
    return "\n".join(lines)
