"""Where other packages are, for a process that was started without `site` (-S), which takes milliseconds.

Few verbs need one. When the first is looked for, and is not beside this package, `site` is asked after all:
it knows the virtual environment, Debian's dist-packages, and the .pth files of editable installations.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec


class Site:
    """The last finder of sys.meta_path (PEP 451), until it is asked for what is not part of a package."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if path is not None:
            return None
        sys.meta_path.remove(self)
        import site
        from importlib.util import find_spec

        site.main()
        return find_spec(name)


def install() -> None:
    """Our folder, first on sys.path so far, goes behind the standard library: much else may be in it."""
    sys.path.append(sys.path.pop(0))
    sys.meta_path.append(Site())
