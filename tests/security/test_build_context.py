"""Hostile build contexts, images and archives reach nothing outside; secrets stay nowhere."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.errors import EstivaError
from estiva.linux import fs

SECRET = "s3cret-that-must-stay-outside"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    made.outside = Path(made.folder, "outside")  # type: ignore[attr-defined]
    made.outside.mkdir()  # type: ignore[attr-defined]
    (made.outside / "file").write_text(SECRET)  # type: ignore[attr-defined]
    yield made
    assert (made.outside / "file").read_text() == SECRET  # type: ignore[attr-defined]
    assert sorted(os.listdir(made.outside)) == ["file"]  # type: ignore[attr-defined]
    made.close()


def outside(lab: Lab) -> str:
    return f"{lab.folder}/outside"


def refused(lab: Lab, text: str | None, message: str = "") -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(text)
    assert message in caught.value.message
    assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "source", ["abs", "up", "dir/file", "dir", "*/file", "../outside/file", "/proc/self/environ"]
)
def test_copy_follows_nothing_out_of_the_context(lab: Lab, source: str) -> None:
    (lab.context / "abs").symlink_to(outside(lab) + "/file")
    (lab.context / "up").symlink_to("../outside/file")
    (lab.context / "dir").symlink_to(outside(lab))
    for word in ("COPY", "ADD"):
        text = f"FROM box\n{word} {source} /x/\n"
        if "*" in source:
            assert "x" not in lab.names(lab.build(text), "/")
        else:
            refused(lab, text, "file not found in build context")


def test_links_inside_a_copied_directory_stay_links(lab: Lab) -> None:
    (lab.context / "d").mkdir()
    (lab.context / "d/link").symlink_to(outside(lab) + "/file")
    image = lab.build("FROM box\nCOPY d /d\n")
    with lab.open(image.diff_ids, "/d", os.O_PATH) as fd:
        assert os.readlink("link", dir_fd=fd) == outside(lab) + "/file"


@pytest.mark.parametrize("name", ["Dockerfile", "Containerfile"])
def test_a_dockerfile_that_points_out_of_the_context(lab: Lab, name: str) -> None:
    (lab.context / name).symlink_to(outside(lab) + "/file")
    refused(lab, None, "no Dockerfile in")


def test_an_ignore_file_that_points_out_of_the_context(lab: Lab) -> None:
    Path(lab.folder, "outside/file").write_text(SECRET)
    (lab.context / ".dockerignore").symlink_to("/etc/passwd")
    lab.put("f", "")
    assert "f" in lab.names(lab.build("FROM box\nCOPY . /x/\n"), "/x")


def test_a_fifo_as_dockerfile_does_not_hang(lab: Lab) -> None:
    os.mkfifo(lab.context / "Dockerfile")
    refused(lab, None)


def test_devices_of_a_context_are_not_copied(lab: Lab) -> None:
    os.mknod(lab.context / "null", 0o600 | 0o020000, os.makedev(1, 3))
    refused(lab, "FROM box\nCOPY . /x/\n", "is a device")


@pytest.mark.parametrize("source", ["abs", "up/x/..", "../outside"])
def test_bind_mounts_reach_nothing_outside(lab: Lab, source: str) -> None:
    (lab.context / "abs").symlink_to(outside(lab))
    (lab.context / "up").symlink_to("../outside")
    refused(
        lab, f"FROM box\nRUN --mount=source={source},target=/x cat /x/file\n", "in the build context to mount"
    )
    assert lab.steps == []


def test_links_of_an_image_lead_nowhere_else(lab: Lab) -> None:
    where = outside(lab)
    lab.put("f", "new")
    lab.build(
        f"""
FROM box
RUN busybox ln -s {where} /out && busybox ln -s ../../../../../..{where} /up
RUN busybox ln -s {where}/file /one && busybox ln -s /proc/self/root/{where} /magic
COPY f /out/file
COPY f /up/file
COPY f /one
COPY f /magic/file
ADD f /out/made
COPY --chown=user <<E /up/doc
E
WORKDIR /out/new
"""
    )


def test_sources_in_a_hostile_image(lab: Lab) -> None:
    where = outside(lab)
    base = lab.build(
        f"FROM box\nRUN busybox ln -s {where} /out && busybox ln -s ../../../../..{where}/file /file\n"
    )
    lab.store.images.tag(base.id, "evil")
    for source in ("/out/file", "/file", "/out"):
        refused(lab, f"FROM scratch\nCOPY --from=evil {source} /x\n", "file not found in evil")
        refused(lab, f"FROM box\nRUN --mount=from=evil,source={source},target=/x true\n", "in evil to mount")


def test_users_are_read_with_bounds_and_without_nss(lab: Lab) -> None:
    lab.put("f", "")
    for change, message in (
        ("rm /etc/passwd; busybox mkfifo /etc/passwd", "no user 'user'"),
        ("echo user:x:4294967295:0::: > /etc/passwd", "invalid user or group id"),
        ("echo user:x:-1:0::: > /etc/passwd", "invalid user or group id"),
        ("busybox yes root:x:0:0 | busybox head -c 2000000 > /etc/passwd", "larger than 1 MiB"),
        ("busybox ln -sf /dev/zero /etc/passwd", "no user 'user'"),
    ):
        refused(lab, f"FROM box\nRUN {change}\nCOPY --chown=user f /f\n", message)
    refused(lab, "FROM box\nCOPY --chown=4294967295 f /f\n", "invalid user or group id")
    refused(lab, "FROM box\nCOPY --chown=nobody f /f\n", "no user 'nobody'")  # the host has one


def archive(*members: tuple[str, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"bad"))
    return buffer.getvalue()


def test_archives_that_climb_out(lab: Lab) -> None:
    where = outside(lab)
    link, file, hard = tarfile.SYMTYPE, tarfile.REGTYPE, tarfile.LNKTYPE
    for members in (
        [("../../../../../../.." + where + "/file", file, "")],
        [("a/../../x", file, "")],
        [("h", hard, "../../../etc/passwd")],
        [("w", tarfile.CHRTYPE, "")],
    ):
        lab.put("a.tar", archive(*members))
        refused(lab, "FROM box\nADD a.tar /x\n", "Dockerfile:2: ")
    for members in (
        [("l", link, where), ("l/file", file, "")],
        [("l", link, "../../../../../.." + where), ("l/made", file, "")],
        [(where + "/file", file, "")],
        [("l", link, where + "/file"), ("l", file, "")],
        [("d", tarfile.DIRTYPE, ""), ("d", link, where), ("d/file", file, "")],
    ):
        lab.put("a.tar", archive(*members))
        try:
            lab.build("FROM box\nADD a.tar /x\n")
        except EstivaError as error:
            assert error.message.startswith("Dockerfile:2: ")


def test_a_swapped_directory_loses_the_race(lab: Lab) -> None:
    """While `d` is copied, it and a link to the outside are exchanged as fast as possible."""
    for number in range(50):
        lab.put(f"d/{number}/file", "inside")
    (lab.context / "l").symlink_to(outside(lab))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            fs.rename_exchange(str(lab.context / "d/25"), str(lab.context / "l"))

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(15):
            try:
                image = lab.build("FROM box\nCOPY d /d\n", no_cache=True)
            except EstivaError:
                continue
            for name in lab.names(image, "/d"):
                try:
                    assert lab.read(image, f"/d/{name}/file") == "inside"
                except FileNotFoundError:  # the link itself was copied
                    pass
    finally:
        stop.set()
        thread.join()


def test_secrets_are_nowhere_afterwards(lab: Lab) -> None:
    text = """
FROM box
RUN --mount=type=secret,id=a cat /run/secrets/a | busybox sha256sum > /sum
RUN --mount=type=secret,id=b,env=B echo "${B:+set}" > /set
"""
    image = lab.build(
        text, secrets={"a": SECRET.encode(), "b": SECRET.encode()}, build_args={"https_proxy": SECRET}
    )
    assert lab.read(image, "/set") == "set\n"
    assert SECRET not in image.text
    lab.store.close()
    Path(lab.folder, "outside/file").rename(Path(lab.folder, "outside/kept"))
    for directory, _, files in os.walk(lab.folder):
        for name in files:
            path = os.path.join(directory, name)
            if name != "kept":
                assert SECRET.encode() not in Path(path).read_bytes(), path
    Path(lab.folder, "outside/kept").rename(Path(lab.folder, "outside/file"))


def test_limits_of_a_dockerfile(lab: Lab) -> None:
    refused(lab, "FROM box\nRUN " + "x" * (4 << 20), "larger than 4 MiB")
    refused(lab, "FROM box\nCMD " + "[" * 100_000 + "\n" + "RUN " + "[" * 100_000 + "\n")


@pytest.mark.parametrize("target", ["{outside}/file", "../outside/file", "sub/l", "/etc/passwd"])
@pytest.mark.parametrize("form", ["absolute", "relative", "dots", "through a link", "inside a folder"])
def test_a_named_dockerfile_that_links_out_of_the_context(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, target: str, form: str
) -> None:
    """-f names a file of the context: what that leads to is the context's doing, not the caller's."""
    (lab.context / "sub").mkdir()
    (lab.context / "sub/l").symlink_to(outside(lab) + "/file")
    (lab.context / "My.df").symlink_to(target.format(outside=outside(lab)))
    (lab.context / "folder").symlink_to(outside(lab))
    Path(lab.folder, "link").symlink_to(lab.context / "sub")
    monkeypatch.chdir(lab.folder)
    path = {
        "absolute": f"{lab.context}/My.df",
        "relative": "context/My.df",
        "dots": "context/sub/../My.df",
        "through a link": "link/../My.df",
        "inside a folder": "context/folder/file",
    }[form]
    with pytest.raises(EstivaError) as caught:
        lab.build(None, dockerfile=path)
    assert caught.value.message == f"the Dockerfile {path} is a link out of the build context"
    assert SECRET not in caught.value.message + caught.value.hint


def test_a_named_dockerfile_beside_the_context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the caller's own path leads is the caller's to say; what the context has on the way is not asked."""
    beside = Path(lab.folder, "My.df")
    beside.write_text("FROM box\nCMD beside\n")
    Path(lab.folder, "alias.df").symlink_to(beside)
    lab.put("real.df", "FROM box\nCMD inside\n")
    (lab.context / "here.df").symlink_to("real.df")
    (lab.context / "trap").symlink_to(outside(lab))
    (lab.context / "My.df.dockerignore").symlink_to("/etc/passwd")
    monkeypatch.chdir(lab.folder)
    for path in ("My.df", "alias.df", str(beside), "context/../My.df", "context/trap/../../My.df"):
        assert lab.build(None, dockerfile=path).config["config"]["Cmd"][-1] == "beside"
    reader, writer = os.pipe()
    os.write(writer, b"FROM box\nCMD piped\n")
    os.close(writer)
    assert lab.build(None, dockerfile=f"/dev/fd/{reader}").config["config"]["Cmd"][-1] == "piped"
    os.close(reader)
    for path in ("context/here.df", "context/./trap/../here.df", "here.df"):
        assert lab.build(None, dockerfile=path).config["config"]["Cmd"][-1] == "inside"
    refused_file(lab, "context/none.df", "can't be read")


def test_an_ignore_file_beside_a_named_dockerfile(lab: Lab) -> None:
    lab.put("My.df", "FROM box\nCOPY . /x/\n")
    (lab.context / "My.df.dockerignore").symlink_to(outside(lab) + "/file")
    assert "My.df" in lab.names(lab.build(None, dockerfile=f"{lab.context}/My.df"), "/x")


def refused_file(lab: Lab, path: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(None, dockerfile=path)
    assert message in caught.value.message
