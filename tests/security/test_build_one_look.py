"""K20: what a build's cache says of a source is what was copied or mounted, however the source changes meanwhile."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.files.tree import Tree
from estiva.builder.request import Step
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


@pytest.mark.parametrize("flags", ["", ",rw", ",source=d"])
def test_a_mount_does_not_change_while_the_command_runs(lab: Lab, flags: str) -> None:
    text = f"FROM box\nRUN --mount=target=/in{flags} cat /in/f > /f\n"
    run = lab.run_step

    def changing(step: Step) -> int:
        for name in ("f", "d/f"):
            lab.put(name, "evil")
        return run(step)

    for name in ("f", "d/f"):
        lab.put(name, "good")
    lab.run_step = changing  # type: ignore[method-assign]
    assert lab.read(lab.build(text), "/f") == "good"
    evil = lab.build(text)
    assert lab.read(evil, "/f") == "evil"


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
    image = lab.build(f"FROM box\nRUN --mount=target=/in,source={source or '.'} cat {where} > /f\n")
    assert lab.read(image, "/f") == "inside"


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
