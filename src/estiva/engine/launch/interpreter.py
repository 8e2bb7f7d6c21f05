"""A Python interpreter for the spawner, where the program's own executable is none.

`sys.executable` of a frozen program (PyInstaller and the like), or of one that embeds Python, is the program
itself: to run that would run the program once more, and so on. So it is only taken when it is named as an
interpreter is; and what is run finds SECOND in its environment, and starts nothing then.
"""

from __future__ import annotations

import os
import sys

from estiva.errors import Unsupported

SECOND = "ESTIVA_SPAWNER"  # in the environment of what was started to be the spawner
HINT = "install python{} of the system, or run the program with a Python interpreter"


def find() -> str:
    """The path of an interpreter of this version. Raises Unsupported."""
    own = sys.executable or ""
    frozen = bool(getattr(sys, "frozen", False))
    if SECOND in os.environ:
        raise Unsupported(f"{_shown(own)} is not a Python interpreter, but this program", hint=_hint())
    if not frozen and _named(own):
        return own
    number = _number()
    names = [getattr(sys, "_base_executable", None) or ""]
    names += [f"{prefix}/bin/python{number}" for prefix in (sys.base_exec_prefix, "/usr", "/usr/local")]
    names.append("/usr/bin/python3")
    for name in names:
        if _named(name) and not (frozen and _same(name, own)) and _version(name) == number:
            return name
    raise Unsupported(f"no Python {number} to start containers with: not {_shown(own)}", hint=_hint())


def environment() -> dict[str, str]:
    """The environment for it."""
    return {**os.environ, SECOND: "1"}


def _number() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def _hint() -> str:
    return HINT.format(_number())


def _shown(own: str) -> str:
    return own or "sys.executable, which is empty"


def _named(path: str) -> bool:
    return (
        os.path.isabs(path)
        and os.path.basename(path).startswith("python")
        and os.path.isfile(path)
        and os.access(path, os.X_OK)
    )


def _same(path: str, own: str) -> bool:
    try:
        return os.path.samefile(path, own)
    except OSError:
        return False


def _version(path: str) -> str:
    """Of one that was only guessed."""
    import subprocess

    code = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
            text=True,
            errors="replace",
            env=environment(),
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
