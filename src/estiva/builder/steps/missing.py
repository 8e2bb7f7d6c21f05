"""What may be the matter with a source that is not there."""

from __future__ import annotations

import posixpath

from estiva.builder.files.tree import Missing
from estiva.builder.frontend import ignore
from estiva.builder.frontend.near import near
from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.files.tree import Tree


def likely(tree: Tree, path: str, source: str) -> str:
    """Of a path, and of the word that led to it; "" where nothing comes to mind."""
    folder, _, name = path.rstrip("/").rpartition("/")
    try:
        names = tree.names(tree.resolve(folder))
    except (Missing, OSError):
        return ""
    if name in names:
        hint = ".dockerignore leaves it out, which is there"
        return hint if tree.hides(path) else ""
    above = folder + "/" if folder else ""
    meant = near(name, (each for each in names if not tree.hides(above + each)))
    meant = oneline(posixpath.join(posixpath.dirname(source.rstrip("/")), meant)) if meant else ""
    hint = f"did you mean {meant}?"
    return hint if meant and not ignore.has_wildcard(source) else ""
