"""`exec` of estiva-oci: a further process in a container (cold path)."""

from __future__ import annotations

from estiva import fastjson, files
from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, UsageError, Verb
from estiva.errors import Conflict, InvalidInput, Unsupported
from estiva.ocicli import handover
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.bundle import validate
from estiva.runtime.lifecycle import containers, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.lifecycle.containers import Container

_LIMIT = 4 << 20  # bytes of --process
_SETS = ("bounding", "effective", "permitted")


def _seal(config: dict[str, Any]) -> None:
    kinds = [entry["type"] for entry in (config.get("linux") or {}).get("namespaces") or ()]
    from estiva.runtime.launch import sealed_exe

    if sealed_exe.needed(config.get("process") or {}, "user" in kinds):
        sealed_exe.ensure()


def execute(context: Context, options: Options) -> int:
    wanted = options.number("preserve-fds")
    if wanted < 0:
        raise InvalidInput(f"--preserve-fds {wanted} is not a number of fds")
    handover.check_fds(wanted)
    made = containers.load(context.root, options.arguments[0])
    status = made.status()
    if status == "stopped":
        raise Conflict(f"cannot exec in a stopped container: container not running: {made.id}")
    if status == "paused" and not options.flag("ignore-paused"):
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    config = made.config()
    _seal(config)
    process = _process(options, config.get("process") or {})
    _umask(process, config.get("process") or {})
    bundles.check_process(process, "process")
    context.warn(validate.process(process))
    if context.debug:
        context.note(validate.passed_over(process))
    detach, path = options.flag("detach"), options.text("console-socket")
    terminal = bool(process.get("terminal"))
    if path and not terminal:
        raise InvalidInput("cannot use console socket without a tty")
    if terminal and detach and not path:
        raise InvalidInput("cannot allocate tty if the runtime will detach without setting console socket")
    console = handover.console_sender(path) if path else None
    told = options.text("pidfd-socket")
    pidfd = handover.fd_sender(told, "--pidfd-socket") if told else None
    group = _group(made, options.many("cgroup"))
    if not detach:
        from estiva.ocicli import foreground

        foreground.take_signals(subreaper=not options.flag("no-subreaper"))
    cache = context.cache if (config.get("linux") or {}).get("seccomp") else ""
    from estiva.runtime.launch import exec as further

    create.anywhere()
    init = further.execute(
        made.pid,
        process,
        cgroup=group,
        exact=bool(options.many("cgroup")),
        bpf=create.filter_of({**config, "process": process}, cache),
        preserve_fds=wanted,
        keyring=f"_ses.{made.id}",
        linux=config.get("linux"),
        state=made.oci_state(),
    )
    try:
        init.ready()
        if console is not None:
            console(init.console)
        elif terminal:
            foreground.prepare(init.console)
        if pidfd is not None:
            pidfd(init.pidfd, b"setns")
        if options.text("pid-file"):
            handover.write_pid(options.text("pid-file"), init.pid)
        init.start()
    except BaseException:
        init.close()
        raise
    return 0 if detach else foreground.attend(init, terminal=terminal and not path)


def _process(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    """The OCI process: that of --process as it is, else the container's own with what the flags change."""
    words = options.arguments[1:]
    file = options.text("process")
    if file:
        data = files.read_bounded(file, _LIMIT, wait=True)
        process = fastjson.loads(data, what=file)
        if not isinstance(process, dict):
            raise InvalidInput(f"{file} is not a json object")
        if options.given("tty"):
            process["terminal"] = options.flag("tty")
        return process
    if not words:
        raise UsageError("process args cannot be empty")
    process = dict(base)
    process["args"] = words
    process["terminal"] = options.flag("tty")
    process.pop("consoleSize", None)
    process.setdefault("cwd", "/")
    if options.given("cwd"):
        process["cwd"] = options.text("cwd")
    if options.given("env"):
        process["env"] = [*(process.get("env") or ()), *options.many("env")]
    if options.given("no-new-privs"):
        process["noNewPrivileges"] = options.flag("no-new-privs")
    for flag, field in (("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if options.given(flag):
            process[field] = options.text(flag)
    if options.given("cap"):
        process["capabilities"] = _capabilities(process.get("capabilities"), options.many("cap"))
    if options.given("user") or options.given("additional-gids"):
        process["user"] = _user(options, process.get("user") or {})
    return process


def _umask(process: dict[str, Any], base: dict[str, Any]) -> None:
    """Where the process has no umask of its own it is the container's, else the caller's, as runc has it."""
    user = dict(process.get("user") or {})
    if user.get("umask") is not None:
        return
    mask = (base.get("user") or {}).get("umask")
    if mask is None:
        import os

        mask = os.umask(0o022)
        os.umask(mask)
    process["user"] = {**user, "umask": mask}


def _capabilities(base: dict[str, list[str]] | None, added: list[str]) -> dict[str, list[str]]:
    """--cap adds to the sets; to the ambient one only what was inheritable already, as runc has it."""
    sets = {name: list(names or ()) for name, names in (base or {}).items()}
    for name in added:
        for kind in _SETS:
            sets.setdefault(kind, [])
            if name not in sets[kind]:
                sets[kind].append(name)
        if name in sets.get("inheritable", ()) and name not in sets.setdefault("ambient", []):
            sets["ambient"].append(name)
    return sets


def _user(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    user = dict(base)
    if options.given("user"):
        uid, colon, gid = options.text("user").partition(":")
        user["uid"] = _id(uid, "--user")
        if colon:
            user["gid"] = _id(gid, "--user")
    if options.given("additional-gids"):
        words = [word for text in options.many("additional-gids") for word in text.split(",")]
        user["additionalGids"] = [
            *(user.get("additionalGids") or ()),
            *(_id(w, "--additional-gids") for w in words),
        ]
    return user


def _id(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 32):
        raise UsageError(f"{flag}: {text!r} is not a number of a user or group")
    return int(text)


def _group(made: Container, places: list[str]) -> Cgroup | None:
    """The container's cgroup, or one below it that exists: --cgroup PATH, or CONTROLLER[,...]:PATH on v1."""
    group = made.cgroup
    if not places:
        return group
    if group is None:
        raise Unsupported(f"container {made.id} has no cgroup")
    from estiva.runtime.cgroup import subgroup

    return subgroup.subgroup(group, places)


EXEC = Verb(
    execute,
    "ID [COMMAND ARG...]",
    "Run a further process in a container",
    (
        ("p", "process", TEXT, "FILE", "the OCI process, as JSON"),
        ("t", "tty", FLAG, "", "give it a terminal"),
        ("", "console-socket", TEXT, "PATH", "a unix socket that is sent the terminal's master"),
        ("", "pidfd-socket", TEXT, "PATH", "a unix socket that is sent a pidfd of it"),
        ("", "pid-file", TEXT, "FILE", "write its pid here"),
        ("d", "detach", FLAG, "", "return once it runs"),
        ("", "preserve-fds", INT, "N", "pass N more fds, from 3 on"),
        ("u", "user", TEXT, "UID[:GID]", "who it is"),
        ("g", "additional-gids", LIST, "GID", "further groups"),
        ("", "cwd", TEXT, "DIR", "its working directory"),
        ("e", "env", LIST, "NAME=VALUE", "add to its environment"),
        ("c", "cap", LIST, "CAP_NAME", "give it a capability"),
        ("", "cgroup", LIST, "[C:]PATH", "a cgroup below the container's; on v1 for controllers C,C"),
        ("", "no-new-privs", FLAG, "", "it can't gain privileges by execve"),
        ("", "apparmor", TEXT, "PROFILE", "its AppArmor profile"),
        ("", "process-label", TEXT, "LABEL", "its SELinux label"),
        ("", "ignore-paused", FLAG, "", "it may be paused: then it starts when it is resumed"),
        ("", "no-subreaper", FLAG, "", ""),
    ),
    least=1,
    interspersed=False,
    failure=255,
)
