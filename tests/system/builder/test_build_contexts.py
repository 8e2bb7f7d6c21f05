"""Build contexts that are no folder of this machine's, Dockerfiles from elsewhere, and named contexts of each kind."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from buildlab import Lab
from estiva.errors import EstivaError
from estiva.store.archive import save
from gitkit import Daemon, Repo

COPY = "FROM scratch\nCOPY . /\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def refused(lab: Lab, message: str, text: str | None = None, **options: object) -> EstivaError:
    with pytest.raises(EstivaError) as caught:
        lab.build(text, **options)
    assert message in caught.value.message, caught.value.message
    return caught.value


def tar(**files: str) -> bytes:
    """Files of 1000:1001; `__` in a name is a slash, `_dot_` a dot."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_dot_", "."))
            member.size, member.mode, member.uid, member.gid = len(text), 0o640, 1000, 1001
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


# -- archives


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_an_archive_as_the_context(lab: Lab, pack: Callable[[bytes], bytes]) -> None:
    data = tar(
        Dockerfile=COPY,
        a="a",
        d__b="b",
        out="x",
        _dot_dockerignore="out\n",
        d__Dockerfile="FROM scratch\nCOPY d /\n",
    )
    image = lab.build(None, context=io.BytesIO(pack(data)))
    assert lab.names(image, "/") == [".dockerignore", "Dockerfile", "a", "d"]
    assert lab.mode(image, "/a") == "0640 1000:1001"  # as docker has it
    assert lab.names(lab.build(None, context=io.BytesIO(pack(data)), dockerfile="d/Dockerfile"), "/") == [
        "Dockerfile",
        "b",
    ]
    assert lab.build(None, context=io.BytesIO(pack(data))).id == image.id


def test_what_is_here_is_not_in_an_archive(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.context)
    lab.put("own", "FROM scratch\nLABEL of=here\n")
    data = tar(Dockerfile="FROM scratch\nLABEL of=archive\n", Dockerfile_dot_dockerignore="b\n", b="x", c="y")
    refused(lab, "there is no own in the build context", context=io.BytesIO(data), dockerfile="own")
    image = lab.build(None, context=io.BytesIO(data), dockerfile=str(lab.context / "own"))
    assert image.config["config"]["Labels"] == {"of": "here"}
    data = tar(Dockerfile=COPY, Dockerfile_dot_dockerignore="b\n", _dot_dockerignore="c\n", b="x", c="y")
    assert "b" not in lab.names(lab.build(None, context=io.BytesIO(data)), "/")
    assert "c" in lab.names(lab.build(None, context=io.BytesIO(data)), "/")


def test_an_archive_that_is_none(lab: Lab) -> None:
    for data in (b"\x1f\x8b" + b"\0" * 600, tar(a="x" * 4000)[:2000], gzip.compress(b"x" * 9999)):
        refused(lab, "the archive of the build context can't be unpacked", context=io.BytesIO(data))


# -- the web


class Files(http.server.ThreadingHTTPServer):
    """Answers with `files` by path; `seen` are (path, Authorization). A text that begins with http: redirects."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        data = self.server.files.get(self.path)
        if data is None or data.startswith((b"http:", b"file:")):
            self.send_response(404 if data is None else 302)
            if data is not None:
                self.send_header("Location", data.decode())
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Files]:
    made = Files()
    yield made
    made.shutdown()
    made.server_close()


def test_a_url_as_the_context(lab: Lab, web: Files) -> None:
    web.files["/c.tar.gz"] = gzip.compress(tar(Dockerfile=COPY, a="a"))
    web.files["/text"] = b"FROM scratch\nCOPY context /got\n"
    web.files["/moved"] = f"{web.url}/text".encode()
    web.files["/away"] = b"file:///etc/passwd"
    assert lab.names(lab.build(None, context=f"{web.url}/c.tar.gz"), "/") == ["Dockerfile", "a"]
    for path in ("/text", "/moved"):  # as docker has it: the file is the context, too
        assert lab.read(lab.build(None, context=web.url + path), "/got") == web.files["/text"].decode()
    refused(lab, "is not allowed", context=web.url + "/away")
    refused(lab, "the server answered 404", context=web.url + "/none")


def test_a_dockerfile_from_a_url(lab: Lab, web: Files) -> None:
    lab.write(f="x", g="y", _dot_dockerignore="g\n")
    web.files["/D"] = COPY.encode()
    assert lab.names(lab.build(None, dockerfile=web.url + "/D"), "/") == [".dockerignore", "f"]
    web.files["/D"] = b"x" * (5 << 20)
    refused(lab, "is larger than 4 MiB", dockerfile=web.url + "/D")


def test_credentials_for_files(lab: Lab, web: Files) -> None:
    other = Files()
    try:
        web.files["/f"] = b"x"
        web.files["/same"] = f"{web.url}/f".encode()
        web.files["/moved"] = f"{other.url}/f".encode()
        other.files["/f"] = b"x"
        host = "127.0.0.1"
        text = f"FROM scratch\nADD {web.url}/same {web.url}/moved /\n"
        image = lab.build(text, secrets={f"HTTP_AUTH_TOKEN_{host}": b"t0ken\n"})
        assert set(web.seen) == {(path, "Bearer t0ken") for path in ("/same", "/f", "/moved")}
        assert other.seen == [("/f", None)]
        assert "t0ken" not in str(image.config)
        web.seen.clear()
        lab.build(text, secrets={f"HTTP_AUTH_HEADER_{host}": b"Own x"})
        assert ("/same", "Own x") in web.seen
        pair = web.url.replace("//", "//me:s3cret@")
        image = lab.build(f"FROM scratch\nADD {pair}/f /\n")
        assert web.seen[-1] == ("/f", "Basic bWU6czNjcmV0") and "s3cret" not in str(image.config)
        assert "s3cret" not in refused(lab, "me:xxxxx@", f"FROM scratch\nADD {pair}/none /\n").message
        assert not any("s3cret" in str(event.get("instruction")) for event in lab.events)
        with pytest.raises(EstivaError, match="line break"):
            lab.build(text, secrets={f"HTTP_AUTH_HEADER_{host}": b"a\r\nX: y"})
    finally:
        other.shutdown()
        other.server_close()


# -- named contexts


def test_named_folders(lab: Lab) -> None:
    lab.put("other/f", "named")
    lab.put("other/out", "x")
    lab.put("other/.dockerignore", "out\n")
    other = {"other": str(lab.context / "other")}
    assert lab.names(lab.build("FROM scratch\nCOPY --from=other . /\n", build_contexts=other), "/") == [
        ".dockerignore",
        "f",
    ]
    text = "FROM box\nRUN --mount=from=other,target=/o cat /o/f > /g; ls /o > /h\n"
    image = lab.build(text, build_contexts=other)
    assert lab.read(image, "/g") == "named" and lab.read(image, "/h") == "f\n"


def test_a_folder_to_begin_with(lab: Lab) -> None:
    lab.put("root/f", "x", 0o604)
    base = {"base": str(lab.context / "root")}
    text = "FROM base\nWORKDIR /w\nCOPY --from=base f /g\n"
    image = lab.build(text, build_contexts=base)
    assert lab.names(image, "/") == ["f", "g", "w"] and lab.mode(image, "/f") == "0604 0:0"
    assert image.config["config"]["Env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]
    assert len(image.config["history"]) == 3 and len(image.diff_ids) == 3
    assert lab.build(text, build_contexts=base).id == image.id
    lab.put("root/f", "y", 0o604)
    assert lab.read(lab.build(text, build_contexts=base), "/f") == "y"


def test_names_that_stand_for_stages_and_images(lab: Lab) -> None:
    lab.put("other/f", "named")
    folder = str(lab.context / "other")
    text = "FROM box AS first\nRUN false\nFROM scratch\nCOPY --from=first f /\n"
    assert lab.read(lab.build(text, build_contexts={"first": folder}), "/f") == "named"
    text = "FROM box AS first\nRUN false\nFROM first\nCOPY f /\n"
    lab.put("f", "")
    assert lab.build(text, build_contexts={"first": "docker-image://scratch"}).diff_ids
    assert "bin" in lab.names(lab.build(text, build_contexts={"first": "docker-image://box"}), "/")
    for name in ("alpine", "alpine:latest", "docker.io/library/alpine", "docker.io/library/alpine:latest"):
        for used in ("alpine", "library/alpine", "docker.io/library/alpine:latest"):
            lab.build(f"FROM {used}\n", build_contexts={name: "docker-image://box"})
            image = lab.build(f"FROM scratch\nCOPY --from={used} f /\n", build_contexts={name: folder})
            assert lab.read(image, "/f") == "named"
    assert {name for name, _, _ in lab.resolved} <= {"box"}
    refused(lab, "alpine:3", "FROM alpine:3\n", build_contexts={"alpine": folder})


def test_named_repositories_and_files(lab: Lab, web: Files, tmp_path: Path) -> None:
    Repo(tmp_path, "r").commit(f="of git", d__g="of git")
    web.files["/f"] = b"of the web"
    served = Daemon(tmp_path)
    try:
        contexts = {"repo": served.url + "/r", "part": served.url + "/r#main:d", "file": web.url + "/f"}
        text = "FROM repo\nCOPY --from=part g /\nCOPY --from=file context /web\n"
        image = lab.build(text, build_contexts=contexts)
        assert lab.names(image, "/") == ["d", "f", "g", "web"]
        assert lab.read(image, "/web") == "of the web"
    finally:
        served.close()


def test_images_of_a_layout(lab: Lab, tmp_path: Path) -> None:
    one = lab.build("FROM scratch\nLABEL n=1\nCOPY . /\n")
    lab.put("f", "x")
    two = lab.build("FROM scratch\nLABEL n=2\nCOPY f /\n")
    folder = tmp_path / "layout"
    with io.BytesIO() as out:
        save.save_images(
            lab.store, [(one, ["docker.io/library/a:v1"]), (two, ["docker.io/library/a:latest"])], out
        )
        out.seek(0)
        with tarfile.open(fileobj=out) as archive:
            archive.extractall(folder, filter="data")
    index = (folder / "index.json").read_text()
    (folder / "manifest.json").unlink(missing_ok=True)
    place = f"oci-layout://{folder}"
    for tail, number in (("", "2"), (":latest", "2"), (":v1", "1")):
        image = lab.build("FROM base\n", build_contexts={"base": place + tail})
        assert image.config["config"]["Labels"] == {"n": number}, index
    digest = one.manifest or ""
    if digest:
        image = lab.build("FROM base\n", build_contexts={"base": f"{place}@{digest}"})
        assert image.config["config"]["Labels"] == {"n": "1"}
    assert (
        lab.read(lab.build("FROM scratch\nCOPY --from=base f /\n", build_contexts={"base": place}), "/f")
        == "x"
    )
    refused(lab, "it holds no image called none", "FROM base\n", build_contexts={"base": place + ":none"})
    refused(lab, "no such folder", "FROM base\n", build_contexts={"base": place + "/none:v1"})


def test_names_and_places_that_are_none(lab: Lab) -> None:
    refused(lab, "invalid name of a build context", "FROM x\n", build_contexts={"A B": "."})
    refused(lab, "is a target of a bake file", "FROM x\n", build_contexts={"x": "target:y"})
    refused(lab, "is no place of a build context", "FROM x\n", build_contexts={"x": "ftp://h/x"})
    refused(lab, "is not a directory", "FROM x\n", build_contexts={"x": "/none"})


# -- how far it is


def test_what_is_fetched_is_told(lab: Lab, web: Files, tmp_path: Path) -> None:
    """A repository and files of the web, of the context, of a name and of ADD: begin, bytes, end."""
    daemon = Daemon(tmp_path)
    try:
        Repo(tmp_path, "r").commit(a="x" * 5000)
        web.files["/context.tar"] = tar(Dockerfile="x", b="1")
        web.files["/file"] = b"f" * 3000
        lab.build(
            f"FROM scratch\nCOPY --from=lib a /\nADD {web.url}/file {daemon.url}/r /d/\n",
            context=f"{web.url}/context.tar",
            build_contexts={"lib": f"{daemon.url}/r"},
        )
    finally:
        daemon.close()
    told = [each for each in lab.events if "fetch" in each]
    ends = {(each["kind"], each["fetch"]): each for each in told if each["status"] == "done"}
    assert set(ends) == {
        ("http", f"{web.url}/context.tar"), ("http", f"{web.url}/file"), ("git", f"{daemon.url}/r"),
    }  # fmt: skip
    file = ends["http", f"{web.url}/file"]
    assert (file["current"], file["total"]) == (3000, 3000) and file["seconds"] > 0
    assert [each["status"] for each in told if each["kind"] == "git"][0] == "running"
    with pytest.raises(EstivaError):
        lab.build("FROM scratch\nADD http://127.0.0.1:1/x /\n")
    assert [each["status"] for each in lab.events if "fetch" in each] == ["running", "error"]
