"""`healthcheck run`: a container's health check, now."""

from __future__ import annotations

from estiva.cmdline.parser import Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def run(context: Context, options: Options) -> int:
    """0 where the check says that all is well, 1 else, as Podman; then the health is printed."""
    from estiva.engine import healthcheck

    result, status = healthcheck.run(context.engine, options.arguments[0])
    if result["ExitCode"] == 0:
        return 0
    print(status)
    return 1


RUN = Verb(
    run,
    "CONTAINER",
    "Check the health of a container, once and now",
    least=1,
    most=1,
    failure=125,
    examples=(("estiva healthcheck run db", "0 is healthy, 1 is not, 125 that it can't be told"),),
)
