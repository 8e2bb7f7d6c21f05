"""What every cloned child of the runtime begins and ends with: an error goes to its parent, never on.

A child is a copy of a Python process in which only the calling thread goes on. It must not return into what
it was copied from, and once names are the container's it must not import.
"""

from __future__ import annotations

import _signal
import gc
import os
import sys

from estiva.runtime import procfs, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


ALL_SIGNALS = frozenset(_signal.valid_signals())


def run(channel: sync.Channel, body: Callable[[], None]) -> None:
    """Run `body` to its execve in the new child. Never returns: what goes wrong goes to the parent whole."""
    try:
        gc.disable()
        body()
    except sync.ParentGone:
        pass
    except BaseException as error:
        channel.report(error)
    finally:
        os._exit(1)


def put(path: str, value: str) -> None:
    """Write `value` to a file of the kernel's, in a procfs for sure (K5, CVE-2025-52881)."""
    fd = procfs.open_proc(path)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def forbid_imports() -> None:
    """From now on names are the container's: an import would find, and run, what its image has there (K2)."""
    sys.meta_path.clear()
