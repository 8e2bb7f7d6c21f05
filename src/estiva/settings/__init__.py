"""What an administrator has said once for all: a file with the words of Docker's daemon.json,
/etc/estiva/settings.json or that of ESTIVA_SETTINGS. Where there is none, a look for it is one failed
open(2): the rest is words.py.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PATH = "/etc/estiva/settings.json"


def path() -> str:
    """Where the file is, should there be one."""
    return os.environ.get("ESTIVA_SETTINGS") or DEFAULT_PATH


def look() -> tuple[dict[str, Any], str]:
    """(what the file says, what is wrong with it in words): one of them is empty."""
    from estiva.errors import EstivaError

    try:
        return read(), ""
    except EstivaError as error:
        return {}, str(error)


def read() -> dict[str, Any]:
    """What the file says, by its keys, judged as far as words.py does; {} where there is none.

    Raises InvalidInput for what can't be read or understood, Denied for a file that others could change.
    """
    where = path()
    try:
        # a fifo is not to be waited for
        fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as error:
        missing: OSError | None = error
        if where == DEFAULT_PATH:
            return {}
    except OSError as error:
        missing = error
    else:
        missing = None
    from estiva.settings import words

    if missing is not None:
        raise words.unreadable(where, missing)
    try:
        return words.read(fd, where)
    finally:
        os.close(fd)
