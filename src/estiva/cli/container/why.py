"""`why`: how a container came to be in the state that it is in (cold path)."""

from __future__ import annotations

from estiva.cmdline.parser import Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context
    from estiva.engine.state.types import Record


def why(context: Context, options: Options) -> int:
    from estiva.cli.context import tell
    from estiva.engine.containers import inspect
    from estiva.errors import EstivaError

    status = 0
    told = False
    for ref in options.arguments:
        try:
            record = inspect.inspect(context.engine, ref)
        except EstivaError as error:
            tell(error)
            status = 1
            continue
        if told:
            print()
        told = True
        _show(record)
    return status


def _show(record: Record) -> None:
    from estiva.cli.context import local
    from estiva.engine.explain import why as explain

    for line in explain.of(record):
        print(local(line))
    lines = record["State"].get("Exit", {}).get("LastLog", [])
    if lines:
        print(local("the last lines of its log:"))
        for line in lines:
            print(f"  {line}")


WHY = Verb(
    why,
    "CONTAINER [CONTAINER...]",
    "Tell how a container ended and why, or what keeps it from running",
    least=1,
    examples=(("estiva why web", "who killed it, which limit it met, its last words"),),
)
