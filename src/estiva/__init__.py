"""Estiva, a container engine in pure Python.

    import estiva

    result = estiva.run("alpine", ["id"])              # Result(status, stdout, stderr)
    with estiva.container("alpine", memory="256m") as box:
        box.put("model.bin", "/data/model.bin")
        print(box.exec(["sha256sum", "/data/model.bin"]).output)

All of it is loaded on first use; safe in a program with threads; no daemon.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import RLock

    from estiva.engine import Engine
    from estiva.errors import EstivaError
    from estiva.sdk.containers import Container, container, run
    from estiva.sdk.images import build, pull, push
    from estiva.sdk.result import CommandTimeout, Result
    from estiva.version import __version__ as __version__

__all__ = [
    "CommandTimeout",
    "Container",
    "Engine",
    "EstivaError",
    "Result",
    "build",
    "container",
    "pull",
    "push",
    "run",
]


_loading: RLock | None = None  # held while something is loaded; a fork waits for it


def __getattr__(name: str) -> object:
    if name == "__version__":
        from estiva.version import __version__

        return __version__
    if name not in __all__:
        raise AttributeError(f"module 'estiva' has no attribute '{name}'")
    with _lock():
        return _load(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _lock() -> RLock:
    """A child that is forked while another thread imports a module would find it locked for ever."""
    global _loading
    if _loading is None:
        from _thread import RLock

        from estiva import atfork

        lock = RLock()
        if _loading is None:
            _loading = lock
            atfork.wait(lock.acquire, lock.release, lock.release)
    return _loading


def _load(name: str) -> object:
    if name == "Engine":
        from estiva.engine import Engine

        return Engine
    if name == "EstivaError":
        from estiva.errors import EstivaError

        return EstivaError
    if name in ("build", "pull", "push"):
        from estiva.sdk import images

        return getattr(images, name)
    if name in ("CommandTimeout", "Result"):
        from estiva.sdk import result

        return getattr(result, name)
    from estiva.sdk import containers

    return getattr(containers, name)
