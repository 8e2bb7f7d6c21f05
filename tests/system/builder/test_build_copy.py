"""COPY and ADD: where files land, with which mode, owner and time."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.errors import EstivaError


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def refused(lab: Lab, line: str, message: str) -> str:
    """The hint of the error."""
    with pytest.raises(EstivaError) as caught:
        lab.build("FROM box\n" + line + "\n")
    assert message in caught.value.message
    assert caught.value.message.startswith("Dockerfile:2: ")
    return caught.value.hint


def test_where_files_land(lab: Lab) -> None:
    lab.write(a="A", b="B", dir__x="X", dir__sub__y="Y")
    image = lab.build(
        """
FROM box
WORKDIR /w
COPY a file
COPY a into/
COPY a /tmp
COPY a .
COPY a b /both/
COPY dir /dir
COPY a b /both
COPY dir/ /tmp/
COPY ["dir/sub", "json dir/"]
COPY dir/x /deep/er/name
"""
    )
    assert lab.names(image, "/w") == ["a", "file", "into", "json dir"]
    assert lab.names(image, "/w/into") == ["a"]
    assert lab.names(image, "/tmp") == ["a", "sub", "x"]
    assert lab.names(image, "/both") == ["a", "b"]
    assert lab.names(image, "/dir") == ["sub", "x"]
    assert lab.read(image, "/w/json dir/y") == "Y"
    assert lab.read(image, "/deep/er/name") == "X"


def test_mode_owner_and_time(lab: Lab) -> None:
    lab.put("d/script", "x", 0o750)
    os.chmod(lab.context / "d", 0o700)
    os.chown(lab.context / "d/script", 1234, 1234)
    os.utime(lab.context / "d/script", (1_000_000_000, 1_000_000_000))
    (lab.context / "d/link").symlink_to("/nowhere")
    (lab.context / "d/inner").mkdir(0o711)
    image = lab.build("FROM box\nCOPY d /new/d\nCOPY d /tmp\n")
    assert lab.mode(image, "/new/d/script") == "0750 0:0"
    assert lab.stat(image, "/new/d/script").st_mtime == 1_000_000_000
    assert lab.mode(image, "/new") == lab.mode(image, "/new/d") == "0755 0:0"
    assert lab.mode(image, "/new/d/inner") == "0711 0:0"
    assert lab.mode(image, "/tmp/script") == "0750 0:0"
    with lab.open(image.diff_ids, "/new/d", os.O_PATH) as fd:
        assert os.readlink("link", dir_fd=fd) == "/nowhere"


def test_chown_and_chmod(lab: Lab) -> None:
    lab.put("d/f", "x", 0o600)
    image = lab.build(
        """
FROM box
COPY --chown=user d /u/
COPY --chown=user:extra d/f /g
COPY --chown=7 d/f /seven
COPY --chown=7:8 --chmod=4711 d/f /eight
COPY --chmod=u=rwX,go=rX d /x/
ADD --chown=user d/f /added
COPY --chown=user <<E /doc
E
"""
    )
    assert lab.mode(image, "/u") == "0755 1000:1001"
    assert lab.mode(image, "/u/f") == "0600 1000:1001"
    assert lab.mode(image, "/g") == "0600 1000:2000"
    assert lab.mode(image, "/seven") == "0600 7:7"
    assert lab.mode(image, "/eight") == "4711 7:8"
    assert lab.mode(image, "/x/f") == "0644 0:0"
    assert lab.mode(image, "/added") == "0600 1000:1001"
    assert lab.mode(image, "/doc") == "0644 1000:1001"
    refused(lab, "COPY --chown=ghost d /d", "no user 'ghost'")
    refused(lab, "COPY --chmod=888 d /d", "invalid chmod value")


def test_workdir_is_the_users(lab: Lab) -> None:
    image = lab.build("FROM box\nUSER user\nWORKDIR /home/user/w\nUSER 1000\nRUN echo x > f\n")
    assert lab.mode(image, "/home/user") == "0755 1000:1001"
    assert lab.mode(image, "/home/user/w/f").endswith(" 1000:1000")


def test_the_destination_stays_and_directories_in_it_become_as_their_sources(lab: Lab) -> None:
    lab.put("d/root/f", "x")
    os.chmod(lab.context / "d", 0o711)
    os.chmod(lab.context / "d/root", 0o775)
    image = lab.build(
        "FROM box\nRUN mkdir -m 700 /d /d/root && chown 5:5 /d /d/root\nCOPY --chown=9:9 d /d\n"
    )
    assert lab.mode(image, "/d") == "0700 5:5"
    assert lab.mode(image, "/d/root") == "0775 9:9"
    assert lab.mode(image, "/d/root/f") == "0644 9:9"


def test_wildcards(lab: Lab) -> None:
    lab.write(a1="1", a2="2", b__c="c")
    image = lab.build("FROM box\nCOPY a? /d/\nCOPY none* a1 /e/\nCOPY [a]1 /one\nCOPY a* /tmp\n")
    assert lab.names(image, "/d") == ["a1", "a2"]
    assert lab.names(image, "/e") == ["a1"]
    assert lab.read(image, "/one") == "1"
    assert lab.names(image, "/tmp") == ["a1", "a2"]
    refused(lab, "COPY a? /d", "the destination must be a directory")


def test_missing_and_ignored_sources(lab: Lab) -> None:
    lab.write(a="1", _dot_dockerignore="a\n")
    text = "COPY failed: file not found in build context (or excluded by .dockerignore): "
    lab.write(d__name="1", d__secret="1")
    assert refused(lab, "COPY a /a", text + "a") == ".dockerignore leaves it out, which is there"
    assert refused(lab, "COPY ./b /b", text + "./b") == ""
    assert refused(lab, "COPY d/nmae /b", text + "d/nmae") == "did you mean d/name?"
    lab.write(_dot_dockerignore="a\nd/secret\n")
    assert refused(lab, "COPY d/secrte /b", text + "d/secrte") == ""
    assert refused(lab, "COPY no/such /b", text + "no/such") == ""
    missing = "COPY failed: file not found in box: /etc/pass"
    assert refused(lab, "COPY --from=box /etc/pass /b", missing) == "did you mean /etc/passwd?"
    lab.write(x="", y="")
    refused(lab, "COPY x y /z", "when COPY has more than one source, the destination must be a directory")


def test_what_can_not_replace_what(lab: Lab) -> None:
    lab.write(a="1", d__tmp="file", e__passwd__x="")
    refused(lab, "COPY d /", "can't copy the file d/tmp onto a directory")
    refused(lab, "COPY e /etc/", "can't copy the directory")
    refused(lab, "COPY d /etc/passwd", "can't copy a directory onto the file")
    image = lab.build("FROM box\nCOPY a /etc/passwd\n")
    assert lab.read(image, "/etc/passwd") == "1"


def test_links_of_the_image(lab: Lab) -> None:
    lab.write(f="new", d__g="g")
    image = lab.build(
        """
FROM box
RUN mkdir -p /real/dir && busybox ln -s real /abs && busybox ln -s ../../../../real/dir /tmp/up \
 && busybox ln -s /real/target /filelink
COPY f /abs/
COPY d /tmp/up
COPY f /filelink
"""
    )
    assert lab.names(image, "/real") == ["dir", "f", "target"]
    assert lab.names(image, "/real/dir") == ["g"]


def test_hard_links_stay(lab: Lab) -> None:
    lab.write(d__a="x")
    os.link(lab.context / "d/a", lab.context / "d/b")
    image = lab.build("FROM box\nCOPY d /d\n")
    assert lab.stat(image, "/d/a").st_ino == lab.stat(image, "/d/b").st_ino


def test_only_the_layer_of_the_copy(lab: Lab) -> None:
    lab.write(d__a="x")
    image = lab.build("FROM box\nCOPY d/a /tmp/x/a\n")
    assert lab.layer_names(image) == ["tmp", "tmp/x", "tmp/x/a"]


def test_exclude(lab: Lab) -> None:
    lab.write(d__a_dot_txt="", d__b_dot_md="", d__s__c_dot_txt="", d__s__keep_dot_txt="")
    image = lab.build("FROM box\nCOPY --exclude=**/*.txt --exclude=!s/keep.txt d /d/\n")
    assert lab.names(image, "/d") == ["b.md", "s"]
    assert lab.names(image, "/d/s") == ["keep.txt"]


def test_parents(lab: Lab) -> None:
    lab.write(x__a_dot_txt="", x__y__b_dot_txt="b", x__y__c_dot_md="", q__w__e="")
    os.chmod(lab.context / "x", 0o711)
    image = lab.build(
        """
FROM box
COPY --parents x/a.txt x/y/b.txt /one/
COPY --parents x/./y/*.txt /two/
COPY --parents **/*.txt /three/
COPY --parents ./q/w /four
"""
    )
    assert lab.names(image, "/one/x") == ["a.txt", "y"]
    assert lab.mode(image, "/one/x") == "0711 0:0"
    assert lab.read(image, "/two/y/b.txt") == "b"
    assert (lab.names(image, "/three/x"), lab.names(image, "/three/x/y")) == (["a.txt", "y"], ["b.txt"])
    assert lab.names(image, "/four/q/w") == ["e"]


def test_link_layers_do_not_depend_on_what_is_below(lab: Lab) -> None:
    lab.write(a="A")
    first = lab.build("FROM box\nRUN echo 1 > /x\nCOPY --link --chown=user a /tmp/a\n")
    second = lab.build("FROM box\nRUN echo 2 > /x\nCOPY --link --chown=user a /tmp/a\n")
    assert lab.statuses()["COPY --link --chown=user a /tmp/a"] == "cached"
    assert first.diff_ids[-1] == second.diff_ids[-1]
    assert lab.mode(second, "/tmp/a") == "0644 1000:1001"


MEMBERS = (
    ("d", tarfile.DIRTYPE, ""),
    ("d/f", tarfile.REGTYPE, ""),
    ("h", tarfile.LNKTYPE, "d/f"),
    ("s", tarfile.SYMTYPE, "d"),
)


def archive(compress: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, link in MEMBERS:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime = kind, link, 0o740, 1000
            info.uid, info.gid = 42, 43
            info.size = 4 if name == "d/f" else 0
            tar.addfile(info, io.BytesIO(b"data"))
    return gzip.compress(buffer.getvalue()) if compress else buffer.getvalue()


def test_add_unpacks_local_archives(lab: Lab) -> None:
    lab.put("plain.tar", archive())
    lab.put("packed", archive(compress=True))
    lab.put("not.tar.gz", "no archive")
    lab.put("page.gz", gzip.compress(b"only compressed"))
    image = lab.build(
        """
FROM box
ADD plain.tar /plain
ADD packed /packed/
ADD --chown=user packed /owned/
ADD not.tar.gz page.gz /files/
ADD --unpack=false plain.tar /kept/
COPY packed /copied/
"""
    )
    assert lab.names(image, "/plain") == ["d", "h", "s"]
    assert lab.read(image, "/packed/s/f") == "data"
    assert lab.mode(image, "/plain/d") == lab.mode(image, "/plain/h") == "0740 42:43"
    assert lab.stat(image, "/plain/d").st_mtime == 1000
    assert lab.mode(image, "/owned/d/f") == "0740 1000:1001"
    assert lab.names(image, "/files") == ["not.tar.gz", "page.gz"]
    assert lab.names(image, "/kept") == ["plain.tar"]
    assert lab.names(image, "/copied") == ["packed"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "f.tar").write_bytes(archive())
    (tmp_path / "hello").write_text("hello")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_add_from_a_url(lab: Lab, server: str) -> None:
    image = lab.build(
        f"""
FROM box
ADD {server}/hello /one
ADD --checksum={HELLO} --chmod=755 {server}/hello /dir/
ADD {server}/f.tar /tar/
ADD --unpack=true {server}/f.tar /unpacked/
"""
    )
    assert lab.read(image, "/one") == "hello"
    assert lab.mode(image, "/one") == "0600 0:0"
    assert lab.mode(image, "/dir/hello") == "0755 0:0"
    assert lab.names(image, "/tar") == ["f.tar"]
    assert lab.names(image, "/unpacked") == ["d", "h", "s"]
    refused(lab, f"ADD --checksum={HELLO[:-1]}5 {server}/hello /x", "has the digest sha256:2cf2")
    refused(lab, f"ADD {server}/none /x", "the server answered 404")
    refused(lab, "ADD --checksum=sha256:00 a /x", "--checksum needs exactly one source, a URL")


def test_every_kind_of_file_is_found_in_the_cache_again(lab: Lab) -> None:
    """What a copy says of its sources is what the next build's look says of them."""
    lab.write(d__a="1", d__b="2", d__sub__c="3", d__sub__deep__e="5", one="1")
    os.link(lab.context / "d/a", lab.context / "d/sub/linked")
    (lab.context / "d/link").symlink_to("a")
    (lab.context / "d/broken").symlink_to("/nowhere")
    (lab.context / "d/empty").mkdir(0o700)
    os.mkfifo(lab.context / "d/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(lab.context / "d/socket"))
    os.setxattr(lab.context / "d/a", "user.note", b"x")
    lines = [
        "COPY d /d1/",
        "COPY . /d2",
        "COPY --parents ./d/sub/deep ./d/a /d3/",
        "COPY --exclude=sub/* --exclude=!sub/deep --exclude=b d /d4/",
        "COPY --exclude=one one /d5/",
        "ADD d one /d6/",
        "RUN --mount=target=/in,source=d test -p /in/fifo",
        "RUN --mount=target=/in,source=d/a,rw test -s /in",
    ]
    text = "FROM box\n" + "\n".join(lines) + "\n"
    first = lab.build(text)
    assert lab.names(first, "/d4") == ["a", "broken", "empty", "fifo", "link", "sub"]
    assert lab.names(first, "/d4/sub") == ["deep"]
    assert lab.build(text).id == first.id
    assert {line: lab.statuses()[line] for line in lines} == dict.fromkeys(lines, "cached")
