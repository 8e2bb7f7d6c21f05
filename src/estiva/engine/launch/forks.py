"""What a fork of a Python program must not keep: the ends of its parent's pipes, locks and channels.

A child that is forked while another thread starts a container would hold the container's lock and keep its
streams open for as long as it lives.
"""

from __future__ import annotations

import os
from _weakrefset import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

fds: set[int] = set()
channels: WeakSet[Any] = WeakSet()  # Launched


def _in_a_fork() -> None:
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass
    fds.clear()
    for channel in list(channels):
        channel.close()
    channels.clear()


os.register_at_fork(after_in_child=_in_a_fork)
