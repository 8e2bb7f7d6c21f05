"""What is otherwise for an ordinary user: user_namespaces(7), newuidmap(1), newgidmap(1).

The kernel lets a user map one id, his own, once setgroups(2) is given up in the namespace; more, out of
/etc/subuid and /etc/subgid, the two setuid programs of the package uidmap do.
"""

from __future__ import annotations

import os

from estiva import programs
from estiva.errors import EngineError, Unsupported, oneline
from estiva.runtime import child, sync


def map_ids(pid: int, uid_map: str, gid_map: str) -> None:
    """Write the maps of a child, given as lines of "INSIDE OUTSIDE SIZE". Raises StepFailed, Unsupported,
    EngineError with what the program said."""
    for name, text, own in (("uid", uid_map, os.geteuid()), ("gid", gid_map, os.getegid())):
        words = text.split()
        if len(words) == 3 and words[1:] == [str(own), "1"]:
            try:
                if name == "gid":
                    child.put(f"/proc/{pid}/setgroups", "deny")
                child.put(f"/proc/{pid}/{name}_map", text)
            except OSError as error:
                number = error.errno or 0
                raise sync.StepFailed(
                    "map ids", "write", f"{name}_map {text!r}", number, error.strerror or ""
                ) from error
        else:
            _by_program(f"new{name}map", [str(pid), *words])


def _by_program(name: str, words: list[str]) -> None:
    path = programs.find(name)
    if not path:
        raise Unsupported(f"{name} is not installed: it maps more ids than one's own", hint="package uidmap")
    told, tell = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, tell, 1), (os.POSIX_SPAWN_DUP2, tell, 2)]
    try:
        pid = os.posix_spawn(path, [name, *words], {}, file_actions=actions, setsigmask=())
    except BaseException:
        os.close(told)
        raise
    finally:
        os.close(tell)
    with open(told, "rb") as pipe:
        said = oneline(pipe.read(4096).decode("utf-8", "replace").strip())
    status = os.waitpid(pid, 0)[1]
    if status:
        why = said.removeprefix(f"{name}: ") or f"it ended with {os.waitstatus_to_exitcode(status)}"
        raise EngineError(
            f"{name} can't map ids {' '.join(words[1:])}: {why}", hint="see /etc/subuid and /etc/subgid"
        )
