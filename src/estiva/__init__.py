"""Estiva, a container engine in pure Python.

    import estiva

    result = estiva.run("alpine", ["id"])              # Result(status, stdout, stderr)
    with estiva.container("alpine", memory="256m") as box:
        box.put("model.bin", "/data/model.bin")
        print(box.exec(["sha256sum", "/data/model.bin"]).output)

    engine = estiva.Engine()                           # .containers .images .volumes .networks ...
    for box in engine.containers.list():               # also those that the command line has made
        print(box.name, box.status, box.ip)

All of it is loaded on first use; safe in a program with threads; no daemon. The same in asyncio: estiva.aio.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import RLock

    from estiva import aio as aio
    from estiva import errors as errors
    from estiva import testing as testing
    from estiva.errors import EstivaError
    from estiva.sdk.collections.images import Image
    from estiva.sdk.collections.networks import Network
    from estiva.sdk.collections.volumes import Volume
    from estiva.sdk.containers import container, run
    from estiva.sdk.engine import Engine
    from estiva.sdk.images import build, pull, push
    from estiva.sdk.looking import anatomy
    from estiva.sdk.objects.container import Container
    from estiva.sdk.objects.popen import Popen
    from estiva.sdk.objects.shown import Event, Exit, FileInfo, Health, LogLine, Port, Progress, Stats
    from estiva.sdk.objects.waiting import StillRunning
    from estiva.sdk.result import BuildError, CommandTimeout, Result
    from estiva.sdk.sandbox.pool import Pool, pool
    from estiva.sdk.sandbox.python import PythonError, PythonRun
    from estiva.sdk.sandbox.snapshots import Snapshot
    from estiva.version import __version__ as __version__

__all__ = [
    "BuildError",
    "CommandTimeout",
    "Container",
    "Engine",
    "EstivaError",
    "Event",
    "Exit",
    "FileInfo",
    "Health",
    "Image",
    "LogLine",
    "Network",
    "Pool",
    "Popen",
    "Port",
    "Progress",
    "PythonError",
    "PythonRun",
    "Result",
    "Snapshot",
    "Stats",
    "StillRunning",
    "Volume",
    "anatomy",
    "build",
    "container",
    "pool",
    "pull",
    "push",
    "run",
]


_loading: RLock | None = None  # held while something is loaded; a fork waits for it


def __getattr__(name: str) -> object:
    if name == "__version__":
        from estiva.version import __version__

        return __version__
    if name in ("aio", "testing"):
        with _lock():
            return __import__(f"estiva.{name}", fromlist=["x"])
    if name not in __all__:
        raise AttributeError(f"module 'estiva' has no attribute '{name}'")
    with _lock():
        try:
            return _load(name)
        except (ImportError, AttributeError) as error:
            from estiva.errors import half_loaded

            known = half_loaded(error)
            if known is None:
                raise
            raise known from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__", "aio", "testing"})


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
    if name == "EstivaError":
        from estiva.errors import EstivaError

        return EstivaError
    if name in ("run", "container"):
        from estiva.sdk import containers

        return getattr(containers, name)
    if name == "Engine":
        from estiva.sdk.engine import Engine

        return Engine
    if name in ("build", "pull", "push"):
        from estiva.sdk import images

        return getattr(images, name)
    if name == "anatomy":
        from estiva.sdk.looking import anatomy

        return anatomy
    if name in ("BuildError", "CommandTimeout", "Result"):
        from estiva.sdk import result

        return getattr(result, name)
    return _object(name)


def _object(name: str) -> object:
    if name == "Container":
        from estiva.sdk.objects.container import Container

        return Container
    if name == "Popen":
        from estiva.sdk.objects.popen import Popen

        return Popen
    if name == "StillRunning":
        from estiva.sdk.objects.waiting import StillRunning

        return StillRunning
    if name == "Image":
        from estiva.sdk.collections.images import Image

        return Image
    if name == "Network":
        from estiva.sdk.collections.networks import Network

        return Network
    if name == "Volume":
        from estiva.sdk.collections.volumes import Volume

        return Volume
    if name in ("Pool", "pool"):
        from estiva.sdk.sandbox import pool

        return getattr(pool, name)
    if name in ("PythonError", "PythonRun"):
        from estiva.sdk.sandbox import python

        return getattr(python, name)
    if name == "Snapshot":
        from estiva.sdk.sandbox.snapshots import Snapshot

        return Snapshot
    from estiva.sdk.objects import shown

    return getattr(shown, name)
