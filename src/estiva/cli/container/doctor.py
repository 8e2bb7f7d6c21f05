"""`doctor`: what the machine lacks, or why a container does not do what is wanted of it (cold path)."""

from __future__ import annotations

from estiva.cmdline.parser import LIST, Options, Verb
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def doctor(context: Context, options: Options) -> int:
    names = options.many("name")
    if not options.arguments:
        if names:
            raise InvalidInput("--name is for a container", hint="give the one that can't find it")
        return _machine(context)
    from estiva.cli.context import local, tell
    from estiva.engine.explain import running
    from estiva.errors import EstivaError

    status = 0
    for ref in options.arguments:
        try:
            problems, told = running.examine(context.engine, ref, names)
        except EstivaError as error:
            tell(error)
            status = 1
            continue
        print(*map(local, told), *(f"{local('problem')}: {local(line)}" for line in problems), sep="\n")
        if problems:
            status = 1
        else:
            print(local("nothing wrong is found"))
    return status


def _machine(context: Context) -> int:
    from estiva.cli.context import local
    from estiva.engine.explain import machine

    found = machine.examine(context.engine)
    for each in found:
        why = "" if each.state == machine.OK else f" ({local(each.why)})"
        print(f"{local(each.state) + ':':<10}{local(each.name)}{why}")
    needed, more = machine.install(found, needed=True), machine.install(found, needed=False)
    if needed:
        print(f"{local('to install what is missing')}: {needed}")
    if more:
        print(f"{local('to install what is optional')}: {more}")
    lacking = sum(each.state == machine.MISSING for each in found)
    print(local(f"{lacking} missing" if lacking else "all that is needed is here"))
    return 1 if lacking else 0


DOCTOR = Verb(
    doctor,
    "[CONTAINER...]",
    "Tell what the machine lacks, or why a container does not answer",
    (("", "name", LIST, "NAME", "a name that the container can't find"),),
    examples=(
        ("estiva doctor", "kernel, cgroups, packages; ends with 1 if what is needed is missing"),
        ("estiva doctor web --name db", "its ports, mounts, health; why it does not find db"),
    ),
)
