"""The verbs of `snapshot`: ls, create, inspect, rm."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def ls(context: Context, options: Options) -> None:
    import time

    from estiva.cli.format import tables, units
    from estiva.engine.containers.snapshots import snapshot

    listed = snapshot.listing(context.engine)
    if options.flag("quiet"):
        for state in listed:
            print(state.name)
        return
    rows = [
        {
            "ID": state.id[:12],
            "Name": state.name,
            "Image": units.short_id(state.image),
            "CreatedSince": units.ago(time.time() - state.created),
            "Size": units.size(snapshot.size(context.engine, state)),
        }
        for state in listed
    ]
    headings = [("ID", "SNAPSHOT ID"), ("Name", "NAME"), ("Image", "IMAGE ID"), ("CreatedSince", "CREATED"),
                ("Size", "SIZE")]  # fmt: skip
    tables.show(rows, headings, options.text("format"))


def create(context: Context, options: Options) -> None:
    from estiva.engine.containers.snapshots import snapshot

    ref, name = options.arguments
    made = snapshot.create(context.engine, ref, name, memory=options.flag("memory"))
    print(made.state.id)
    made.release()


def inspect(context: Context, options: Options) -> int:
    import json

    from estiva.cli.context import tell
    from estiva.engine.containers.snapshots import snapshot

    found: list[object] = []
    status = 0
    for name in options.arguments:
        try:
            found.append(snapshot.inspect(context.engine, name))
        except EstivaError as error:
            tell(error)
            status = 1
    print(json.dumps(found, ensure_ascii=False, indent=4))
    return status


def rm(context: Context, options: Options) -> int:
    from estiva.engine.containers.snapshots import snapshot

    return context.each(options.arguments, lambda name: snapshot.remove(context.engine, name))


LS = Verb(
    ls,
    "",
    "List snapshots of containers",
    (
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Name}}'"),
        ("q", "quiet", FLAG, "", "names only"),
    ),
    most=0,
    examples=(("estiva snapshot ls", "what `estiva run NAME` can begin with"),),
)
CREATE = Verb(
    create,
    "CONTAINER NAME",
    "Keep what a container has written, as the beginning of others",
    (
        (
            "",
            "memory",
            FLAG,
            "",
            "keep its processes too: what is made from it without a command goes on there",
        ),
    ),
    least=2,
    most=2,
    examples=(
        ("estiva snapshot create box ready", "then: estiva run ready ..."),
        ("estiva snapshot create --memory box warm", "then: estiva run -d warm, any number of times"),
    ),
)
INSPECT = Verb(
    inspect,
    "SNAPSHOT [SNAPSHOT...]",
    "Show all that is known of snapshots",
    least=1,
    examples=(("estiva snapshot inspect ready", "what it stands on, and what stands on it"),),
)
RM = Verb(
    rm,
    "SNAPSHOT [SNAPSHOT...]",
    "Remove snapshots",
    least=1,
    examples=(("estiva snapshot rm ready", "its files go with the last container that stands on it"),),
)
