"""Verbs on the build cache."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import units
    from estiva.cli.image.images import confirm
    from estiva.engine import system

    if not confirm(options, "all of the build cache"):
        return
    done = system.prune_build_cache(context.engine)
    if done["steps"]:
        print(f"Deleted build cache: {done['steps']} steps\n")
    if done["busy"]:
        print("Its content stays for now: another command is storing images.\n")
    print(f"Total reclaimed space: {units.size(done['bytes'])}")


PRUNE = Verb(
    prune,
    "",
    "Remove the build cache; images stay",
    (
        ("a", "all", FLAG, "", ""),  # Docker's word for what is done anyway
        ("f", "force", FLAG, "", "don't ask"),
    ),
    most=0,
    examples=(("estiva builder prune -f", "the next build runs every step"),),
)
