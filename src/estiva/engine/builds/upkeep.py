"""What builds keep for the next ones, to be looked at and removed: steps, cache mounts, what they read.

An entry is a step's layer (type "regular", by the keys of the build cache), a folder that RUN mounts (type
"exec.cachemount"), a context that a client of the API has sent ("source.local"), or a repository that was
fetched from ("source.git.checkout"); the words are BuildKit's.
What an image needs stays on the disk when its entry goes, so only the rest counts as reclaimable.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from typing import NamedTuple

from estiva import fastjson, files
from estiva.builder.cache import inputs
from estiva.builder.fetch.mirrors import Mirrors
from estiva.engine.builds import contexts
from estiva.engine.state import eventlog
from estiva.engine.state.prune_filters import moment
from estiva.errors import Conflict, InvalidInput, NotFound, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO, Any

    from estiva.engine import Engine
    from estiva.store.database import Transaction

STEP, MOUNT, SOURCE, GIT = "regular", "exec.cachemount", "source.local", "source.git.checkout"
_GONE = ".gone."  # begins the names of cache mounts that are being removed
FILTERS = ("id", "type", "until", "description", "shared", "inuse")


class Entry(NamedTuple):
    """`created`, `used`: epoch seconds; `size`: bytes that go with it; `shared`: an image has all of it."""

    id: str
    type: str
    description: str
    created: float
    used: float
    size: int
    shared: bool
    busy: bool


class Keep(NamedTuple):
    """How much may stay: `most` bytes of entries in all, and `free` bytes of the disk are to be free."""

    most: int | None = None
    free: int | None = None

    @property
    def says(self) -> bool:
        return self.most is not None or self.free is not None


def entries(engine: Engine, filters: dict[str, list[str]] | None = None) -> list[Entry]:
    """All, or those that `filters` take, least recently used first. Raises InvalidInput."""
    taken = _judged(filters or {})
    found = [*_steps(engine), *_mounts(engine), *_sources(engine), *_repositories(engine)]
    return sorted((entry for entry in found if taken(entry)), key=lambda entry: (entry.used, entry.id))


def prune(
    engine: Engine, *, filters: dict[str, list[str]] | None = None, keep: Keep | None = None
) -> dict[str, Any]:
    """Remove entries: all that `filters` take, or as many of them, the least recently used first, as it takes
    to come to `keep`. What is in use stays.

    Returns {"steps": count, "mounts": ids, "bytes": freed, "busy": another process was storing things, so
    that content had to stay for the next prune}.
    """
    going = [entry for entry in entries(engine, filters) if not entry.busy]
    if keep is not None and keep.says:
        going = _above(engine, keep, going)
    steps = [entry for entry in going if entry.type == STEP]
    done = _forget(engine, [entry.id for entry in steps])
    _sweep(engine)
    gone, freed = [], 0
    for entry in going:
        if (
            entry.type == SOURCE
            and contexts.remove(engine, entry.id)
            or entry.type == GIT
            and Mirrors(engine.paths.cache + "/build").remove(entry.id)
        ):
            freed += entry.size
        elif entry.type == MOUNT and _remove_mount(engine, entry.id):
            gone.append(entry.id)
            freed += entry.size
    done["bytes"] += freed
    eventlog.write(engine.paths, "builder", "prune", "", {"reclaimed": str(done["bytes"])})
    return {**done, "mounts": gone}


def remove(engine: Engine, words: Sequence[str]) -> list[str]:
    """Remove cache mounts by the beginnings of their ids, which it returns. Raises NotFound, Conflict."""
    found = [_one(engine, word) for word in words]
    for entry in dict.fromkeys(found):
        if not _remove_mount(engine, entry.id):
            raise Conflict(f"the cache mount {entry.id[:12]} is in use", hint="by a build that is running")
    return [entry.id for entry in dict.fromkeys(found)]


def export(engine: Engine, word: str, out: IO[bytes]) -> None:
    """Write the files of a cache mount as a tar. Raises NotFound; Conflict while a build has it locked."""
    from estiva.store.layers.pack import write_tree

    entry = _one(engine, word)
    locks = _lock(engine, entry.id, fcntl.LOCK_SH)
    if not locks:
        raise Conflict(f"the cache mount {entry.id[:12]} is in use", hint="by a build that wants it alone")
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(f"{_folder(engine)}/{entry.id}/data", flags)
        try:
            write_tree(fd, out)
        finally:
            os.close(fd)
    finally:
        _close(locks)


# --- what there is ----------------------------------------------------------------------------------------


def _steps(engine: Engine) -> list[Entry]:
    from estiva.store.upkeep import usage

    sizes: dict[str, int] = {}
    shared: dict[str, bool] = {}
    images = dict(engine.db.read("SELECT key, image FROM build_cache"))
    for step in usage.steps(engine.store):
        image = images.get(step["key"], "")
        sizes[image] = sizes.get(image, 0) + step["size"]
        shared[image] = shared.get(image, True) and step["shared"]
    rows = engine.db.read(
        "SELECT b.image, min(b.created), max(b.used), i.config, min(b.key) FROM build_cache b"
        " JOIN images i ON i.id = b.image GROUP BY b.image"
    )
    found = []
    for image, made, used, text, key in rows:
        name, size = image.rpartition(":")[2], sizes.get(image, 0)
        line = "finished image" if key.startswith("image:") else _line(text)
        found.append(Entry(name, STEP, line, made, used, size, shared.get(image, False), False))
    return found


def _line(text: str) -> str:
    history = fastjson.stored(text, what="an image's config").get("history") or [{}]
    return str(history[-1].get("created_by") or "").removesuffix(" # buildkit")


def _folder(engine: Engine) -> str:
    return engine.paths.cache + "/build/mounts"


def _mounts(engine: Engine) -> list[Entry]:
    from estiva.store.volumes import tree_size

    found = []
    try:
        names = sorted(os.listdir(_folder(engine)))
    except FileNotFoundError:
        return []
    for name in names:
        top = f"{_folder(engine)}/{name}"
        inside = os.listdir(top) if len(name) == 64 else []
        folders = [entry for entry in inside if entry.startswith("data")]
        if not folders:
            continue
        used = max(os.lstat(f"{top}/{entry}").st_mtime for entry in (*folders, "about") if entry in inside)
        locks = _lock(engine, name, fcntl.LOCK_EX)
        busy = not locks
        _close(locks)
        size = sum(tree_size(f"{top}/{entry}") for entry in folders)
        made = os.lstat(top).st_ctime
        found.append(Entry(name, MOUNT, _about(top), made, used, size, False, busy))
    return found


def _sources(engine: Engine) -> list[Entry]:
    return [
        Entry(name, SOURCE, "local source for context", used, used, size, False, busy)
        for name, size, used, busy in contexts.kept(engine)
    ]


def _repositories(engine: Engine) -> list[Entry]:
    return [
        Entry(name, GIT, f"git repository {about}".rstrip(), used, used, size, False, busy)
        for name, about, size, used, busy in Mirrors(engine.paths.cache + "/build").kept()
    ]


def _about(top: str) -> str:
    try:
        with open(top + "/about", "rb") as file:
            about = json.loads(file.read(1 << 16))
        return "cache mount " + " ".join(
            filter(None, (about["id"], about["from"] and f"from {about['from']}:{about['source']}"))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "cache mount"


def _judged(filters: dict[str, list[str]]) -> Any:
    """Whether an entry is taken."""
    for key, values in filters.items():
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{brief(key, 60)}'", hint=f"one of {', '.join(FILTERS)}")
        for value in values:
            if key == "type" and value not in (STEP, MOUNT, SOURCE, GIT):
                hint = f"{STEP}, {MOUNT}, {SOURCE} or {GIT}"
                raise InvalidInput(f"invalid filter 'type={brief(value, 60)}'", hint=hint)
            if key in ("shared", "inuse") and value not in ("true", "false"):
                raise InvalidInput(f"invalid filter '{key}={brief(value, 60)}'", hint="true or false")
    until = min(map(moment, filters.get("until", ())), default=None)

    def taken(entry: Entry) -> bool:
        texts = {"type": entry.type, "shared": str(entry.shared).lower(), "inuse": str(entry.busy).lower()}
        return (
            (until is None or entry.used <= until)
            and all(entry.id.startswith(value) for value in filters.get("id", ()))
            and all(value in entry.description for value in filters.get("description", ()))
            and all(texts[key] == value for key in texts for value in filters.get(key, ()))
        )

    return taken


def _one(engine: Engine, word: str) -> Entry:
    found = [entry for entry in _mounts(engine) if len(word) >= 4 and entry.id.startswith(word)]
    if len(found) != 1:
        what = "no cache mount" if not found else "more than one cache mount"
        raise NotFound(f"{what} {brief(word, 70)}", hint="`estiva builder du` shows them")
    return found[0]


# --- removing ---------------------------------------------------------------------------------------------


def _above(engine: Engine, keep: Keep, going: Iterable[Entry]) -> list[Entry]:
    """Of those that may go, the first that have to."""
    total = sum(entry.size for entry in entries(engine))
    space = shutil.disk_usage(engine.paths.root).free
    chosen = []
    for entry in going:
        enough = keep.most is None or total <= keep.most
        if enough and (keep.free is None or space >= keep.free):
            break
        chosen.append(entry)
        total -= entry.size
        space += entry.size
    return chosen


def _forget(engine: Engine, images: Sequence[str]) -> dict[str, Any]:
    """Forget steps, and remove what nothing else needs of their content, however young."""
    from estiva.store.upkeep import gc

    content: set[str] = set()
    steps = 0
    with engine.db.write(freeing=True) as transaction:
        forms: dict[str, list[str]] = {}
        for digest, diff_id in transaction.read("SELECT digest, diff_id FROM layer_blobs"):
            forms.setdefault(diff_id, []).append(digest)
        for image in images:
            name = f"sha256:{image}"
            for (text,) in transaction.read("SELECT config FROM images WHERE id = ?", (name,)):
                for diff_id in fastjson.loads(text, what="an image config")["rootfs"]["diff_ids"]:
                    content.update((diff_id, *forms.get(diff_id, ())))
            steps += transaction.execute("DELETE FROM build_cache WHERE image = ?", (name,)).rowcount
        for name in _finished_of(transaction, content):  # else their layers stay for nothing
            transaction.execute("DELETE FROM build_cache WHERE image = ?", (name,))
    done = gc.reclaim(engine.store, only=content)
    _forget_inputs(engine, set(images))
    return {"steps": steps, "bytes": done["bytes"], "busy": done["busy"]}


def _finished_of(reader: Transaction, content: set[str]) -> list[str]:
    """The finished images that are remembered and have any of these layers."""
    rows = reader.read(
        "SELECT i.id, i.config FROM images i WHERE i.id IN"
        " (SELECT image FROM build_cache WHERE key >= 'image:' AND key < 'image;')"
    )
    return [
        image
        for image, text in rows
        if content.intersection(fastjson.loads(text, what="an image config")["rootfs"]["diff_ids"])
    ]


def _sweep(engine: Engine) -> None:
    """Cache mounts that a killed process had begun to remove."""
    for name in os.listdir(_folder(engine)) if os.path.isdir(_folder(engine)) else ():
        if name.startswith(_GONE):
            files.remove_tree(f"{_folder(engine)}/{name}")


def _forget_inputs(engine: Engine, images: set[str]) -> None:
    folder = inputs.folder(engine.paths)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name in images:
            files.remove_tree(f"{folder}/{name}")


def _lock(engine: Engine, name: str, operation: int) -> list[int]:
    """The fds of a cache mount's locks, the caller's to close; none where it is in use. Whoever waits for a
    lock sees afterwards if it is still there."""
    top = f"{_folder(engine)}/{name}"
    held: list[int] = []
    try:
        for entry in {"lock", *(each for each in os.listdir(top) if each.startswith("lock."))}:
            fd = os.open(f"{top}/{entry}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            held.append(fd)
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        _close(held)
    return held


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _remove_mount(engine: Engine, name: str) -> bool:
    """False if a build has it."""
    locks = _lock(engine, name, fcntl.LOCK_EX)
    if not locks:
        return False
    try:
        aside = f"{_folder(engine)}/{_GONE}{name[:16]}.{time.time_ns()}"
        os.rename(f"{_folder(engine)}/{name}", aside)
        files.remove_tree(aside)
    finally:
        _close(locks)
    return True
