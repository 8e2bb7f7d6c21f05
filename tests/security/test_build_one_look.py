"""K20: what a build's cache says of a source is what was copied or mounted, however the source changes meanwhile."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.files import frozen
from estiva.builder.files.cache_mounts import CacheMounts, Wanted
from estiva.builder.files.tree import Tree
from estiva.builder.frontend.run_mounts import Mount
from estiva.builder.request import Step
from estiva.builder.solver.packing import Packing
from estiva.errors import EstivaError
from estiva.linux import fs

SECRET = "s3cret-that-must-stay-outside"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def after_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something done once, as soon as a build has looked at a source for its key."""
    pending: list[Callable[[], None]] = []
    look = Tree.look

    def looked(self: Tree, *words: object, **options: object) -> bool:
        result = look(self, *words, **options)  # type: ignore[arg-type]
        while pending:
            pending.pop()()
        return result

    monkeypatch.setattr(Tree, "look", looked)
    return pending.append


def archive(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("f")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


LINES = [
    "COPY d/f /f",
    "ADD d/f /f",
    "COPY d /",
    "COPY --parents ./d/f /p/",
    "COPY --link d/f /f",
    "COPY --from=named d/f /f",
    "RUN --mount=target=/in cat /in/d/f > /f",
    "RUN --mount=target=/in,rw cat /in/d/f > /f",
    "RUN --mount=source=d/f,target=/in cat /in > /f",
    "RUN --mount=from=named,target=/in cat /in/d/f > /f",
]


@pytest.mark.parametrize("line", LINES)
def test_a_file_that_changes_after_the_look(
    lab: Lab, after_look: Callable[[Callable[[], None]], None], line: str
) -> None:
    where = "/p/d/f" if "--parents" in line else "/f"
    text = f"FROM box\n{line}\n"
    contexts = {"named": str(lab.context)}
    lab.put("d/f", "good")
    after_look(lambda: lab.put("d/f", "evil") and None)
    assert lab.read(lab.build(text, build_contexts=contexts), where) == "evil"
    evil = lab.build(text, build_contexts=contexts)
    assert lab.statuses()[line] == "cached" and lab.read(evil, where) == "evil"
    lab.put("d/f", "good")
    good = lab.build(text, build_contexts=contexts)
    assert lab.statuses()[line] == "done" and lab.read(good, where) == "good"
    assert lab.build(text, build_contexts=contexts).id == good.id


@pytest.mark.parametrize("change", ["mode", "parent", "link", "more", "kind"])
def test_what_else_changes_after_the_look(
    lab: Lab, after_look: Callable[[Callable[[], None]], None], change: str
) -> None:
    line = "COPY --parents ./d /p/"
    text = f"FROM box\n{line}\n"
    changes: dict[str, Callable[[], object]] = {
        "mode": lambda: (lab.context / "d/x/f").chmod(0o4755),
        "parent": lambda: (lab.context / "d/x").chmod(0o777),
        "link": lambda: (lab.context / "d/x/f").unlink() or (lab.context / "d/x/f").symlink_to("/etc/shadow"),
        "more": lambda: lab.put("d/x/f", "good", 0o600) and lab.put("d/f/g", ""),
        "kind": lambda: (lab.context / "d/x/f").unlink() or (lab.context / "d/x/f").mkdir(),
    }
    lab.put("d/x/f", "good", 0o600)
    after_look(lambda: changes[change]() and None)
    lab.build(text)
    for name in ("d/x/f", "d/f/g"):
        path = lab.context / name
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    if (lab.context / "d/f").exists():
        (lab.context / "d/f").rmdir()
    (lab.context / "d/x").chmod(0o755)
    lab.put("d/x/f", "good", 0o600)
    good = lab.build(text)
    assert lab.statuses()[line] == "done"
    assert lab.mode(good, "/p/d/x") == "0755 0:0" and lab.mode(good, "/p/d/x/f") == "0600 0:0"
    assert lab.names(good, "/p/d") == ["x"] and lab.read(good, "/p/d/x/f") == "good"


def test_directories_above_a_source_are_in_the_key(lab: Lab) -> None:
    lab.put("d/f", "")
    lab.build("FROM box\nCOPY --parents ./d/f /p/\n")
    (lab.context / "d").chmod(0o700)
    image = lab.build("FROM box\nCOPY --parents ./d/f /p/\n")
    assert lab.mode(image, "/p/d") == "0700 0:0"


@pytest.mark.parametrize(
    ("first", "then"),
    [(archive("good"), archive("evil")), (archive("good"), b"plain"), (b"plain", archive("evil"))],
)
def test_an_archive_that_changes_after_the_look(
    lab: Lab, after_look: Callable[[Callable[[], None]], None], first: bytes, then: bytes
) -> None:
    text = "FROM box\nADD a /x/\n"
    lab.put("a", first)
    after_look(lambda: lab.put("a", then) and None)
    lab.build(text)
    lab.put("a", then)
    again = lab.build(text)
    assert lab.statuses()["ADD a /x/"] == "cached"
    assert lab.names(again, "/x") == (["a"] if then == b"plain" else ["f"])
    lab.put("a", first)
    good = lab.build(text)
    assert lab.statuses()["ADD a /x/"] == "done"
    assert lab.read(good, "/x/a" if first == b"plain" else "/x/f") == (
        "plain" if first == b"plain" else "good"
    )


def during(lab: Lab, change: Callable[[], object]) -> None:
    """Has something done when a command is about to begin, and its mounts are there."""
    run = lab.run_step

    def changing(step: Step) -> int:
        change()
        return run(step)

    lab.run_step = changing  # type: ignore[method-assign]


def overlays_what_is_there(folder: Path) -> bool:
    """Whether the kernel can: else a command gets a copy to write to, which changes with nobody."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    made = frozen.over(frozen.detached(os.open(folder, os.O_PATH | os.O_CLOEXEC)), str(scratch))
    if made >= 0:
        os.close(made)
    return made >= 0


@pytest.mark.parametrize("flags", ["", ",rw", ",source=d", ",source=d,rw", ",from=named"])
def test_a_mount_that_changes_while_the_command_runs(lab: Lab, flags: str) -> None:
    """What was made of other files is not kept under the key of those that were there before."""
    line = f"RUN --mount=target=/in{flags} cat /in/f > /f"
    text, contexts = f"FROM box\n{line}\n", {"named": str(lab.context)}
    run = lab.run_step
    lab.write(f="good", d__f="good")
    during(lab, lambda: lab.write(f="evil", d__f="evil"))
    if ",rw" in flags and not overlays_what_is_there(Path(lab.folder, "overlay")):
        assert lab.read(lab.build(text, build_contexts=contexts), "/f") == "good" and lab.warnings() == []
        return
    assert lab.read(lab.build(text, build_contexts=contexts), "/f") == "evil"
    source = "named" if "from" in flags else "the build context"
    assert lab.warnings() == [f"Dockerfile:2: {source} changed while RUN read it (d/f): not cached"]
    lab.run_step = run  # type: ignore[method-assign]
    for content in ("good", "evil"):
        lab.write(f=content, d__f=content)
        image = lab.build(text, build_contexts=contexts)
        assert lab.statuses()[line] == "done" and lab.read(image, "/f") == content
        assert lab.warnings() == []
        assert lab.build(text, build_contexts=contexts).id == image.id
        assert lab.statuses()[line] == "cached"


def swap(lab: Lab) -> None:
    """Another file of the same size and times, in the place of `d/f` and back."""
    old = (lab.context / "d/f").stat()
    lab.put("other", "evil")
    os.utime(lab.context / "other", ns=(old.st_atime_ns, old.st_mtime_ns))
    for _ in range(2):
        fs.rename_exchange(str(lab.context / "d/f"), str(lab.context / "other"))


def rewrite(lab: Lab) -> None:
    """Other bytes and the old ones again, with their time."""
    old = (lab.context / "d/f").stat()
    for content in (b"evil", b"good"):
        with open(lab.context / "d/f", "r+b") as file:
            file.write(content)
    os.utime(lab.context / "d/f", ns=(old.st_atime_ns, old.st_mtime_ns))


def store(lab: Lab) -> None:
    """As `rewrite`, through a mapping that is gone again."""
    with open(lab.context / "d/f", "r+b") as file, mmap.mmap(file.fileno(), 4) as mapped:
        assert mapped[:] == b"good"
        mapped[:] = b"evil"
        mapped[:] = b"good"


def bind_over(lab: Lab) -> None:
    (lab.context / "d/f").rename(lab.context / "d/was")
    lab.put("d/f", "evil")
    (lab.context / "d/was").replace(lab.context / "d/f")


CHANGES: dict[str, Callable[[Lab], object]] = {
    "swapped": swap,
    "rewritten": rewrite,
    "stored to": store,
    "replaced": bind_over,
    "added": lambda lab: lab.put("d/g", ""),
    "came and went": lambda lab: lab.put("d/g", "").unlink(),
    "removed": lambda lab: (lab.context / "d/g").unlink(),
    "mode": lambda lab: (lab.context / "d/f").chmod(0o600) or (lab.context / "d/f").chmod(0o644),
    "owner": lambda lab: os.chown(lab.context / "d/f", 1, 1) or os.chown(lab.context / "d/f", 0, 0),
    "attribute": lambda lab: os.setxattr(lab.context / "d/f", "user.note", b"x"),
    "link": lambda lab: (
        (lab.context / "d/l").unlink() or (lab.context / "d/l").symlink_to("evil")  # type: ignore[func-returns-value]
    ),
    "hard link": lambda lab: os.link(lab.context / "d/f", lab.context / "again"),
    "truncated": lambda lab: os.truncate(lab.context / "d/f", 2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["d", "."])
def test_whatever_changed_while_the_command_ran_is_seen(lab: Lab, change: str, source: str) -> None:
    line = f"RUN --mount=target=/in,source={source} true"
    lab.write(d__f="good")
    if change == "removed":
        lab.write(d__g="")
    (lab.context / "d/l").symlink_to("f")
    run = lab.run_step
    during(lab, lambda: CHANGES[change](lab))
    lab.build(f"FROM box\n{line}\n")
    assert len(lab.warnings()) == 1 and "changed while RUN read it (" in lab.warnings()[0]
    shutil.rmtree(lab.context)
    lab.context.mkdir()
    lab.write(d__f="good")
    if change == "removed":
        lab.write(d__g="")
    (lab.context / "d/l").symlink_to("f")
    lab.run_step = run  # type: ignore[method-assign]
    lab.build(f"FROM box\n{line}\n")
    assert lab.statuses()[line] == "done"


def test_what_nobody_changed_is_kept(lab: Lab) -> None:
    """Reading is no change, nor is what happens beside the mounted folder."""
    line = "RUN --mount=target=/in,source=d --mount=target=/g,source=g cat /in/f /g"
    lab.write(d__f="good", g="good")
    during(lab, lambda: (lab.context / "d/f").read_text() and lab.put("h", "new"))
    for status in ("done", "cached"):
        lab.build(f"FROM box\n{line}\n")
        assert lab.statuses()[line] == status and lab.warnings() == []


def hold_open(lab: Lab) -> Callable[[], object]:
    fd = os.open(lab.context / "d/f", os.O_RDWR)
    return lambda: os.pwrite(fd, b"evil", 0) and os.close(fd)


def hold_mapped(lab: Lab) -> Callable[[], object]:
    """A page that has been stored to can be stored to again without a change of times, until it is written."""
    with open(lab.context / "d/f", "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4)
    mapped[:] = b"good"
    return lambda: mapped.write(b"evil") and mapped.close()


@pytest.mark.parametrize("hold", [hold_open, hold_mapped])
@pytest.mark.parametrize("flags", ["", ",rw", ",source=d/f"])
def test_a_file_that_somebody_is_writing_is_not_shown_itself(
    lab: Lab, hold: Callable[[Lab], Callable[[], object]], flags: str
) -> None:
    where = "/in" if "d/f" in flags else "/in/d/f"
    line = f"RUN --mount=target=/in{flags} cat {where} > /f"
    lab.write(d__f="good")
    during(lab, hold(lab))
    good = lab.build(f"FROM box\n{line}\n")
    assert lab.read(good, "/f") == "good" and lab.warnings() == []
    lab.write(d__f="good")
    assert lab.build(f"FROM box\n{line}\n").id == good.id


def test_a_filesystem_whose_times_mean_nothing_is_not_shown_itself(lab: Lab) -> None:
    """A tmpfs sets no time when a mapped page is stored to that was read before."""
    line = "RUN --mount=target=/in cat /in/f > /f"
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="estiva-build-") as folder:
        path = Path(folder, "f")
        path.write_text("good")
        before = path.stat()

        def change() -> None:
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4) as mapped:
                assert mapped[:] == b"good"
                mapped[:] = b"evil"

        during(lab, change)
        good = lab.build(f"FROM box\n{line}\n", context=folder)
        assert path.read_text() == "evil" and path.stat().st_ctime_ns == before.st_ctime_ns
        assert lab.read(good, "/f") == "good" and lab.warnings() == []


def test_files_left_out_do_not_come_while_the_command_runs(lab: Lab) -> None:
    """Where `.dockerignore` has a say the command sees a copy: what comes later is not in it."""
    lab.put(".dockerignore", "secret*\n")
    run = lab.run_step
    for flags in ("", ",rw"):
        for name in ("secret", "g"):
            (lab.context / name).unlink(missing_ok=True)
        lab.write(f="good")
        lab.run_step = run  # type: ignore[method-assign]
        during(lab, lambda: lab.write(secret="", g="", f="evil"))
        image = lab.build(f"FROM box\nRUN --mount=target=/in{flags} ls /in > /out; cat /in/f >> /out\n")
        assert lab.read(image, "/out") == "f\ngood" and lab.warnings() == []


@pytest.mark.parametrize("source", ["d", "d/f", ""])
def test_a_mount_of_a_folder_that_is_renamed(lab: Lab, source: str) -> None:
    """Between the look and the mount another folder, or a link out of the context, gets the name."""
    outside = Path(lab.folder, "outside")
    outside.mkdir()
    (outside / "f").write_text(SECRET)
    lab.put("d/f", "inside")
    run = lab.run_step

    def swapping(step: Step) -> int:
        (lab.context / "d").rename(lab.context / "was")
        (lab.context / "d").symlink_to(outside)
        return run(step)

    lab.run_step = swapping  # type: ignore[method-assign]
    where = "/in" if source == "d/f" else "/in/f" if source else "/in/d/f"
    image = lab.build(f"FROM box\nRUN --mount=target=/in,source={source or '.'} cat {where} > /f || true\n")
    assert lab.read(image, "/f") == (
        "inside" if source else ""
    )  # a link of the context leads nowhere in there


def test_a_swapped_mount_loses_the_race(lab: Lab) -> None:
    outside = Path(lab.folder, "outside")
    outside.mkdir()
    (outside / "f").write_text(SECRET)
    lab.put("d/f", "inside")
    lab.put("g", "inside")
    (lab.context / "l").symlink_to(outside)
    (lab.context / "m").symlink_to(outside / "f")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            fs.rename_exchange(str(lab.context / "d"), str(lab.context / "l"))
            fs.rename_exchange(str(lab.context / "g"), str(lab.context / "m"))

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(15):
            for mount in ("source=d,target=/in", "source=g,target=/in/f", "source=d/f,target=/in/f"):
                try:
                    image = lab.build(f"FROM box\nRUN --mount={mount} cat /in/f > /f; true {number}\n")
                except EstivaError:
                    continue
                assert SECRET not in lab.read(image, "/f")
    finally:
        stop.set()
        thread.join()


CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service+ep


@pytest.mark.parametrize(
    ("name", "value"), [("security.capability", CAPABILITY), ("user.note", b"one"), ("user.note", b"")]
)
def test_extended_attributes_are_in_the_key(lab: Lab, name: str, value: bytes) -> None:
    """A tool that a stage gave rights to must not come without them out of the cache, nor the other way."""
    give: dict[str, bytes] = {}

    def run(step: Step) -> int:
        root = step.snapshot.mount()
        try:
            fd = os.open("tool", os.O_CREAT | os.O_WRONLY, 0o755, dir_fd=root)
            os.write(fd, b"tool")
            for key, content in give.items():
                os.setxattr(fd, key, content)
            os.close(fd)
        finally:
            os.close(root)
        return 0

    def found(*attributes: str) -> dict[str, bytes]:
        image = lab.build(
            "FROM box AS made\nRUN x\nFROM box\nCOPY --from=made /tool /tool\n", no_cache_filter=["made"]
        )
        with lab.open(image.diff_ids, "/tool", os.O_RDONLY) as fd:
            assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o755
            return {key: os.getxattr(fd, key) for key in os.listxattr(fd) if key == name}

    lab.run_step = run  # type: ignore[method-assign]
    assert found() == {}
    give[name] = value
    assert found() == {name: value}
    assert lab.statuses()["COPY --from=made /tool /tool"] == "done"
    assert found() == {name: value}
    assert lab.statuses()["COPY --from=made /tool /tool"] == "cached"
    give.clear()
    assert found() == {}


def test_an_open_file_that_another_step_holds(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent through a socket in a cache mount, it is written to when its step has ended: nobody who goes on from
    there sees that, as its key would not tell."""
    run, work = lab.run_step, Packing._work
    began = threading.Event()
    others = CacheMounts(
        [Wanted(Mount("cache", id="theirs"), None)],
        lab.store.paths.cache + "/build/mounts",
        lambda: tempfile.mkdtemp(dir=lab.folder),
        lambda: None,
        lambda name: None,
    )
    files: list[int] = []

    def running(step: Step) -> int:
        if files:
            os.pwrite(files[0], b"evil", 0)
            began.set()
            return run(step)
        status = run(step)
        files.append(os.open(step.snapshot.upper + "/f", os.O_RDWR | os.O_CLOEXEC))
        return status

    def packing(self: Packing) -> None:
        began.wait(30)
        work(self)

    monkeypatch.setattr(lab, "run_step", running)
    monkeypatch.setattr(Packing, "_work", packing)
    image = lab.build("FROM box\nRUN --mount=type=cache,target=/c echo good > /f\nRUN cat /f > /g\n")
    others.close()
    os.close(files[0])
    assert [lab.read(image, name) for name in ("/f", "/g")] == ["good\n", "good\n"]
