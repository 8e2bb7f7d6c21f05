"""The HTTP library without its client: most servers never need that, and it is a third of the library.

`aiohttp` loads all of itself when it is imported. Here the package stands for itself first, and modules of it
come one by one. Whoever asks it for a name of its own (`aiohttp.ClientSession`, of a pull) gets all the rest.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import Any

NAME = "aiohttp"


class Package(ModuleType):
    """The package before its own code has run."""

    def __getattr__(self, name: str) -> Any:
        assert self.__spec__ is not None and self.__spec__.loader is not None
        if any(os.path.exists(f"{folder}/{name}.py") for folder in self.__path__):
            return importlib.import_module(f"{NAME}.{name}")
        if name.startswith("__"):
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        with _loading:
            if type(self) is Package and not _loading.begun:
                _loading.begun = True
                try:
                    self.__spec__.loader.exec_module(self)
                    object.__setattr__(self, "__class__", ModuleType)
                finally:
                    _loading.begun = False
        return ModuleType.__getattribute__(self, name)


class Loading:
    """One thread's at a time, and not twice: the package's own code may look at the package."""

    def __init__(self) -> None:
        self.begun = False
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


_loading = Loading()


def install() -> None:
    """Before anything of the library is imported; afterwards it is as it is."""
    spec = importlib.util.find_spec(NAME) if NAME not in sys.modules else None
    if spec is None or not spec.submodule_search_locations:
        return
    made = Package(NAME)
    made.__spec__, made.__file__, made.__loader__ = spec, spec.origin, spec.loader
    made.__path__ = list(spec.submodule_search_locations)
    made.__package__ = NAME
    setattr(made, "__version__", version(made.__path__))  # noqa: B010
    sys.modules[NAME] = made


def version(folders: list[str]) -> str:
    """As the folder beside the package tells it."""
    for folder in folders:
        for name in os.listdir(os.path.dirname(folder)):
            if name.startswith(f"{NAME}-") and name.endswith((".dist-info", ".egg-info")):
                return name.split("-")[1].removesuffix(".dist").removesuffix(".egg")
    return ""
