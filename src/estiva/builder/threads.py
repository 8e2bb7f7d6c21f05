"""The threads of a build: begun where there is work for them, as most of what they take is to be imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


def start(target: Callable[[], None], name: str, *, daemon: bool = False) -> threading.Thread:
    """A new thread that does `target`. Raises RuntimeError where there can be no more.

    Since Python 3.13, `collections.abc` is a module that `collections` makes as it is loaded: who asks for it
    while another thread loads that finds nothing. So it is there before there are two.
    """
    import collections.abc  # noqa: F401
    import threading

    thread = threading.Thread(target=target, name=name, daemon=daemon)
    thread.start()
    return thread
