"""Small things that BuildKit does, compared with it by hand: times, modes and PATH."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva.errors import EstivaError
from estiva.oci.config import DEFAULT_PATH

THEN = 1_100_000_000


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def date(lab: Lab) -> None:
    """Give all of the context one time."""
    for top, folders, files in os.walk(lab.context, topdown=False):
        for name in folders + files:
            os.utime(os.path.join(top, name), (THEN, THEN), follow_symlinks=False)
    os.utime(lab.context, (THEN - 5, THEN - 5))


def test_the_folder_that_is_copied_into_has_the_time_of_the_source(lab: Lab) -> None:
    lab.write(src__a="A", src__sub__b="B")
    (lab.context / "src").chmod(0o711)
    date(lab)
    image = lab.build(
        """
FROM box AS base
COPY src/a /old/
COPY --chown=9:9 src /kept/src
RUN chmod 1770 /old
FROM base
COPY src /old
COPY src /new/deep
COPY . /whole
COPY --parents src/sub/b /parents/
COPY --parents ./src/./sub/b /pivot/
COPY src/a /kept/
"""
    )
    times = {path: int(lab.stat(image, path).st_mtime) for path in ("/old", "/new/deep")}
    assert times == {"/old": THEN, "/new/deep": THEN}
    for path in ("/whole", "/parents"):
        assert lab.stat(image, path).st_mtime > THEN + 10**8, "the context itself has no time that counts"
    assert lab.stat(image, "/pivot").st_mtime == THEN, "of src"
    assert lab.mode(image, "/old") == "1770 0:0", "its mode and owner stay"
    assert lab.mode(image, "/new/deep") == "0755 0:0"
    for path in ("/new", "/kept"):
        assert lab.stat(image, path).st_mtime > THEN + 10**8, f"{path} was only made, or written to"
    assert lab.mode(image, "/kept/src") == "0755 9:9"


def test_folders_below_that_are_there_become_as_their_source(lab: Lab) -> None:
    lab.write(src__sub__b="B", src__a="A")
    (lab.context / "src").chmod(0o711)
    (lab.context / "src/sub").chmod(0o700)
    date(lab)
    image = lab.build(
        """
FROM box
COPY --chown=9:9 --chmod=777 src /o/src
COPY . /o
COPY --chown=9:9 src/a /p/src/sub/x
COPY --parents src/sub/b /p
"""
    )
    assert lab.mode(image, "/o/src") == "0711 0:0"
    assert lab.mode(image, "/o/src/sub") == "0700 0:0"
    assert lab.stat(image, "/o/src").st_mtime == THEN
    assert lab.mode(image, "/p/src") == "0711 9:9", "--parents changes the mode alone of what is on the way"
    assert lab.mode(image, "/p/src/sub") == "0700 9:9"


def test_an_image_has_a_path(lab: Lab) -> None:
    lab.image("bare", {"Env": ["A=b"]})
    assert lab.build("FROM bare").config["config"]["Env"] == ["A=b", f"PATH={DEFAULT_PATH}"]
    made = lab.build("FROM bare AS x\nENV PATH=/x:$PATH\nFROM x\nENV B=$A\n")
    assert made.config["config"]["Env"] == ["A=b", f"PATH=/x:{DEFAULT_PATH}", "B=b"]
    assert lab.build("FROM box").config["config"]["Env"] == ["PATH=/bin"]
    lab.image("empty", {"Env": ["PATH="]})
    assert lab.build("FROM empty").config["config"]["Env"] == ["PATH="]


def archive(*members: tuple[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            info.size, info.mode = len(data or b""), 0o755
            tar.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def test_an_archive_replaces_a_folder_that_holds_something(lab: Lab) -> None:
    lab.put("one.tar", archive(("d", b"file"), ("e", None), ("e/f", b"f"), ("e", b"last")))
    lab.write(a="A")
    image = lab.build("FROM box\nCOPY a /o/d/deep/\nCOPY a /o/e\nADD one.tar /o/\n")
    assert (lab.read(image, "/o/d"), lab.read(image, "/o/e")) == ("file", "last")


def test_a_here_document_that_expands_loses_its_backslashes(lab: Lab) -> None:
    image = lab.build("FROM box\nENV X=x\nCOPY <<EOF /f\na\\\nb \\$X $X \\\\ \\q 'c' \"d\"\nEOF\n")
    assert lab.read(image, "/f") == "a\nb $X x \\ q 'c' \"d\"\n"
    image = lab.build("FROM box\nENV X=x\nCOPY <<'EOF' /f\na\\\nb \\$X\nEOF\n")
    assert lab.read(image, "/f") == "a\\\nb \\$X\n"


def test_a_stage_that_is_not_there_has_near_names(lab: Lab) -> None:
    def hint(text: str) -> str:
        with pytest.raises(EstivaError) as caught:
            lab.build(text)
        return caught.value.hint

    stages = "FROM box AS tools\nFROM box AS assets\nFROM box\n"
    assert hint(stages + "COPY --from=asset /a /b\n") == "earlier stages with a name: assets, tools"
    assert hint(stages + "RUN --mount=from=tool,target=/x x\n") == "earlier stages with a name: tools, assets"


def test_parents_keeps_links_and_follows_none(lab: Lab) -> None:
    lab.write(d__x_dot_txt="x", d__e__y_dot_txt="y", d__e__z="z")
    (lab.context / "d/empty").mkdir()
    (lab.context / "d/l.txt").symlink_to("x.txt")
    (lab.context / "dl").symlink_to("d")
    date(lab)
    image = lab.build(
        """
FROM box
COPY --parents **/*.txt /deep/
COPY --parents ./*/*.txt /flat/
COPY --parents d/** /all/
COPY --parents d/l.txt dl /links/
COPY --parents none* /nothing/
"""
    )
    assert lab.names(image, "/deep/d") == ["e", "l.txt", "x.txt"]
    assert lab.names(image, "/deep/d/e") == ["y.txt"]
    assert lab.names(image, "/flat") == ["d"], "dl is a link"
    assert lab.names(image, "/all/d") == ["e", "empty", "l.txt", "x.txt"]
    assert lab.names(image, "/all/d/e") == ["y.txt", "z"]
    assert lab.stat(image, "/all/d/e").st_mtime == THEN
    for path, target in (("/links/d/l.txt", "x.txt"), ("/links/dl", "d"), ("/all/d/l.txt", "x.txt")):
        with lab.open(image.diff_ids, os.path.dirname(path), os.O_PATH) as fd:
            assert os.readlink(os.path.basename(path), dir_fd=fd) == target
    assert lab.names(image, "/nothing") == []


def test_parents_never_leads_out_of_its_folder(lab: Lab) -> None:
    lab.write(d__e__y="y", d__x="x")
    image = lab.build(
        "FROM box\nCOPY --parents ../../d/e/y /q/\nCOPY --parents ./d/./../e/y /r/\nCOPY --parents d/e/../x /s/\n"
    )
    assert (lab.read(image, "/q/d/e/y"), lab.read(image, "/r/e/y"), lab.read(image, "/s/d/x")) == (
        "y",
        "y",
        "x",
    )
    assert "d" not in lab.names(image, "/") and "e" not in lab.names(image, "/")
    assert lab.names(image, "/s/d") == ["x"]


def test_root_needs_no_passwd(lab: Lab) -> None:
    lab.write(a="A")
    image = lab.build("FROM scratch\nCOPY --chown=root:root a /a\nCOPY --chown=root a /b\n")
    assert lab.mode(image, "/a") == lab.mode(image, "/b") == "0644 0:0"
    with pytest.raises(EstivaError, match="no user 'nobody'"):
        lab.build("FROM scratch\nCOPY --chown=nobody a /a\n")


def test_build_arguments_that_need_no_arg(lab: Lab) -> None:
    given = {"BUILDKIT_SANDBOX_HOSTNAME": "a", "http_proxy": "b", "NO_PROXY": "c", "other": "d"}
    lab.build("FROM box\n", build_args=given)
    assert lab.warnings() == ["build argument other is not used"]
