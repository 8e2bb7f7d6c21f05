"""K22: what a Dockerfile, an ignore file, an archive or a URL costs is in proportion to its length."""

from __future__ import annotations

import gzip
import http.server
import io
import lzma
import os
import resource
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.files import download, untar
from estiva.builder.files.destination import Destination
from estiva.builder.files.tree import Tree
from estiva.builder.frontend import ignore, parser, stages
from estiva.builder.frontend.instructions import interpret
from estiva.builder.frontend.variables import Budget, Expander
from estiva.builder.steps.changes import apply_changes
from estiva.errors import EstivaError


def bounded(work: Callable[[], object], *, memory: int = 256 << 20, seconds: int = 60) -> None:
    """Do `work` in a process of its own that is killed when it takes far more than it may."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            work()
            status = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error!s:.300}\n".encode())
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def refused(work: Callable[[], object], message: str, memory: int = 128 << 20) -> None:
    def check() -> None:
        with pytest.raises(EstivaError) as caught:
            work()
        assert message in caught.value.message and len(caught.value.message) < 1500, caught.value.message

    bounded(check, memory=memory)


def plan(text: str) -> stages.Plan:
    return stages.make(parser.parse(text), {}, {})


# -- patterns


EVIL = "*a" * 30


@pytest.mark.parametrize(
    "pattern", [EVIL + "b", "**/" * 40 + "b", "**/*a" * 30 + "/b", "*?" * 50 + "b", "[a-c]*" * 40 + "b"]
)
def test_patterns_of_paths(pattern: str) -> None:
    path = "/".join(["a" * 120, *["a"] * 60, "a" * 60 + "cb"])
    bounded(lambda: ignore.Matcher([pattern]).excluded(path))
    bounded(lambda: ignore.Matcher([f"!{pattern}", pattern]).excluded(path))


def test_a_context_with_an_evil_ignore_file(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / ("a" * 200 + f"{number}cb")).write_text("")
    tree = Tree.context(str(tmp_path), ignore.Matcher([EVIL + "b"] * 20))
    bounded(lambda: tree.walk(""))
    tree.exclude = ignore.Matcher([])
    bounded(lambda: tree.glob(EVIL + "b"))
    tree.close()


def test_the_number_and_the_length_of_patterns() -> None:
    refused(lambda: ignore.read_ignore("a\n" * 20_000), "more than 10000 patterns")
    refused(lambda: ignore.Matcher(["a" * 5000]), "too long")


@pytest.mark.parametrize("operator", ["#", "##", "%", "%%", "/", "//"])
def test_patterns_of_variables(operator: str) -> None:
    end = "/x" if "/" in operator else ""
    for pattern in (EVIL + "b", "b" + "a*" * 30, "?" * 200, "*" * 30 + "b"):
        word = "${A" + operator + pattern + end + "}"
        bounded(lambda word=word: Expander({"A": "a" * 100_000 + "c"}).word(word))  # type: ignore[misc]


def test_replacements_that_grow() -> None:
    expand = Expander({"A": "a" * 100_000})
    refused(lambda: expand.word("${A//a/$A}"), "expand to more than 32 MiB")


# -- variables


def doubling(word: str, count: int = 200) -> str:
    return f"{word} A=0123456789\n" + f"{word} A=$A$A\n" * count


def test_variables_that_double(lab: Lab) -> None:
    message = f"expand to more than {Budget.LIMIT >> 20} MiB"
    refused(lambda: plan(doubling("ARG") + "FROM scratch\n"), message)
    for word in ("ARG", "ENV"):
        with pytest.raises(EstivaError, match="Dockerfile:[0-9]+: the variables of this build " + message):
            lab.build("FROM scratch\n" + doubling(word))
    with pytest.raises(EstivaError, match=message):
        apply_changes({}, doubling("ENV").splitlines())


def test_one_big_variable_in_many_places(lab: Lab) -> None:
    big = "ARG B=" + "x" * (1 << 19) + "\n"
    for text in (
        "FROM scratch\nARG " + "B " * 1000 + "\n",
        "FROM scratch\nARG B\nENV A=" + "$B" * 1000 + "\n",
        "FROM scratch\nARG B\nLABEL " + "A=$B " * 1000 + "\n",
        "FROM scratch\nARG B\nCOPY <<E /\n" + "$B" * 1000 + "\nE\n",
        "FROM scratch AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\nARG B\n" for n in range(100)),
    ):
        with pytest.raises(EstivaError, match="expand to more than 32 MiB"):
            lab.build(big + text)


def test_nested_substitutions() -> None:
    text = "${a:-" * 100_000 + "}" * 100_000
    refused(lambda: Expander({}).word(text), "nested too deeply")


# -- lists and numbers


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("EXPOSE " + "0-65535 " * 100_000, "EXPOSE has more than 196608 ports"),
        ("VOLUME " + " ".join(f"/{n}" for n in range(20_000)), "an image can't have more than 1000 VOLUMEs"),
        ("LABEL " + " ".join(f"l{n}=" for n in range(20_000)), "an image can't have more than 10000 labels"),
        ("ENV " + " ".join(f"l{n}=" for n in range(20_000)), "an image can't have more than 10000 variables"),
        ("EXPOSE " + "1" * 10_000, "invalid port"),
        ("STOPSIGNAL " + "9" * 10_000, "invalid signal"),
        ("STOPSIGNAL RTMIN+" + "9" * 10_000, "invalid signal"),
        ("HEALTHCHECK --retries=" + "9" * 10_000 + " CMD x", "--retries must be a number"),
        ("HEALTHCHECK --interval=" + "9" * 10_000 + "h CMD x", "invalid duration"),
    ],
)
def test_lists_and_numbers(line: str, message: str) -> None:
    refused(lambda: apply_changes({}, [line]), message)


def test_volumes_line_by_line() -> None:
    lines = [f"VOLUME /{number}" for number in range(2000)]
    refused(lambda: apply_changes({}, lines), "an image can't have more than 1000 VOLUMEs")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY --from=" + "9" * 10_000 + " a b", "invalid stage index"),
        ("COPY --chown=" + "9" * 10_000 + " f /f", "invalid user or group id"),
        ("COPY --chmod=" + "7" * 10_000 + " f /f", "invalid chmod value"),
        ("RUN --mount=type=tmpfs,target=/x,size=" + "9" * 10_000 + " x", "invalid size"),
        ("RUN --mount=type=cache,target=/x,uid=" + "9" * 10_000 + " x", "invalid value for uid"),
        ("RUN --mount=type=cache,target=" + "x" * 200_000 + " x", "can't be read"),
        ("RUN " + " ".join(f"--mount=target=/{n}" for n in range(300)) + " x", "more than 200 bind mounts"),
    ],
)
def test_numbers_of_steps(lab: Lab, line: str, message: str) -> None:
    lab.put("f", "")
    with pytest.raises(EstivaError, match="Dockerfile:2: ") as caught:
        lab.build(f"FROM box\n{line}\n")
    assert message in caught.value.message and len(caught.value.message) < 1500


# -- the text of a Dockerfile


@pytest.mark.parametrize(
    "text",
    [
        "#x=a" + " " * 1_000_000 + "b\nFROM a\n",
        "FROM a\nRUN <<" + " " * 1_000_000 + "<b\n",
        "FROM a\nRUN " + "$((" * 500_000 + "<<\n",
        "FROM a\nRUN " + "'\"" * 500_000 + "<<\n",
        "FROM a\nRUN x \\\n" + "\n" * 1_000_000 + "y\n",
        "FROM a\n" + "ENV A=" + "\\" * 1_000_000 + "\n",
        "FROM a\nCOPY " + "<< " * 500_000 + " x\n",
        "FROM s0 AS s1\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(1, 9000)),
        "FROM a AS b\n" + "COPY --from=b a b\n" * 9000,
    ],
)
def test_texts(text: str) -> None:
    def work() -> None:
        try:
            made = plan(text)
            made.needed(made.target(None))
        except EstivaError:
            pass

    bounded(work)


def test_the_number_of_instructions(lab: Lab) -> None:
    refused(lambda: parser.parse("CMD\n" * 900_000), "more than 10000 instructions")
    base = lab.build("FROM scratch\n" + "ONBUILD USER x\n" * 6000)
    lab.store.images.tag(base.id, "base")
    with pytest.raises(EstivaError, match="over 10000 steps"):
        lab.build("FROM base\nFROM base\nCOPY --from=0 x /x\n")


def test_long_words_make_short_errors() -> None:
    word = "x" * 1_000_000
    for line in (word, f"COPY --{word} a b", f"ENV A='{word}", f"FROM a as {word}!", f"HEALTHCHECK {word}"):
        refused(
            lambda line=line: Expander({}).word(interpret(parser.parse(line).instructions[0]).pairs[0][1]), ""
        )  # type: ignore


# -- trees


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def test_symlinks_multiply_what_a_wildcard_matches(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"l{number}").symlink_to(".")
    tree = Tree.context(str(tmp_path))
    refused(lambda: tree.glob("*/" * 30 + "*"), "matches more than 100000 paths")
    tree.close()


def test_a_deep_tree_with_exceptions(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    tree = Tree.context(str(tmp_path), ignore.Matcher(["*", "!nothing"]))
    bounded(lambda: tree.has_visible("d"))
    tree.close()


# -- archives


def header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(*pieces: bytes | int) -> bytes:
    """A gzip stream of pieces; a number stands for so many zeros."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    out = []
    for piece in pieces:
        if isinstance(piece, bytes):
            out.append(packer.compress(piece))
            continue
        for _ in range(piece >> 20):
            out.append(packer.compress(bytes(1 << 20)))
    return b"".join([*out, packer.flush()])


def extract(tmp_path: Path, data: bytes) -> None:
    root, archive = tmp_path / "root", tmp_path / "archive"
    root.mkdir()
    archive.write_bytes(data)
    fd = os.open(archive, os.O_RDONLY)
    scratch = os.open(tmp_path / "scratch", os.O_RDWR | os.O_CREAT, 0o600)
    rootfd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    assert untar.is_archive(fd)
    untar.extract(fd, scratch, "/x", Destination(rootfd))


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE]
)
def test_headers_that_fill_the_memory(tmp_path: Path, kind: bytes) -> None:
    data = packed(header("h", 256 << 20, kind), 256 << 20)
    assert len(data) < 2 << 20
    refused(lambda: extract(tmp_path, data), "tar has an extended header of 268435456 bytes")


def test_many_members_take_no_memory(tmp_path: Path) -> None:
    data = packed(*[header("d/", 0, tarfile.DIRTYPE)] * 60_000, 2 << 20)
    bounded(lambda: extract(tmp_path, data), memory=64 << 20)
    assert [path.name for path in (tmp_path / "root/x").iterdir()] == ["d"]


def test_a_big_member_is_not_held_in_memory(tmp_path: Path) -> None:
    data = packed(header("f", 300 << 20, tarfile.REGTYPE), 300 << 20, 2 << 20)
    bounded(lambda: extract(tmp_path, data), memory=128 << 20)
    assert (tmp_path / "root/x/f").stat().st_size == 300 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed(header("f", 10 << 20, tarfile.REGTYPE), 5 << 20), "tar is truncated"),
        (packed(header("f", 0, tarfile.REGTYPE))[:-9], "gzip stream is"),
        (lzma.compress(header("f", 1 << 20, tarfile.REGTYPE) + bytes(1 << 20))[:-40], "xz stream is"),
        (header("f", 0, tarfile.REGTYPE) + header("\xff" * 4000, 0, b"Z"), "the archive can't be unpacked"),
    ],
)
def test_broken_archives(tmp_path: Path, data: bytes, message: str) -> None:
    refused(lambda: extract(tmp_path, data), message)


def test_a_dictionary_of_xz_that_is_too_large(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(header("f", 0, tarfile.REGTYPE) + bytes(1024)))
    data[16] = 40  # the dictionary's size in the block header: 4 GiB less a byte
    data[20:24] = struct.pack("<I", zlib.crc32(bytes(data[12:20])))
    (tmp_path / "a").write_bytes(bytes(data))
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    bounded(lambda: untar.is_archive(fd))
    os.close(fd)


def test_compressions_that_add_takes(lab: Lab) -> None:
    import bz2

    import zstandard

    plain = header("f", 4, tarfile.REGTYPE) + b"data" + bytes(508 + 1024)
    packers = {
        "gz": gzip.compress,
        "bz2": lambda data: bz2.compress(data[:100]) + bz2.compress(data[100:]),
        "xz": lzma.compress,
        "zst": zstandard.compress,
        "tar": bytes,
    }
    for name, pack in packers.items():
        lab.put(name, pack(plain))
    image = lab.build("FROM box\n" + "".join(f"ADD {name} /{name}/\n" for name in packers))
    assert {lab.read(image, f"/{name}/f") for name in packers} == {"data"}


def test_sparse_members_and_attributes(lab: Lab) -> None:
    buffer = io.BytesIO()
    records = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": str(1 << 26),
        "SCHILY.xattr.user.note": "kept",
    }  # fmt: skip
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("ignored")
        body = f"1\n{(1 << 26) - 4}\n4\n".encode().ljust(512, b"\0") + b"tail"
        info.size, info.pax_headers = len(body), records
        tar.addfile(info, io.BytesIO(body))
    lab.put("a.tar", buffer.getvalue())
    image = lab.build("FROM box\nADD a.tar /x/\n")
    with lab.open(image.diff_ids, "/x/f", os.O_RDONLY) as fd:
        assert os.fstat(fd).st_size == 1 << 26 and os.pread(fd, 8, (1 << 26) - 6) == b"\0\0tail"
        assert os.getxattr(fd, "user.note") == b"kept"


# -- URLs


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(int(self.path.strip("/"))):
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                pass

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_url_is_not_held_in_memory(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    bounded(lambda: download.fetch(f"{server}/300", into), memory=64 << 20)
    assert os.fstat(into).st_size == 300 << 20
    monkeypatch.setattr(download, "LIMIT", 10 << 20)
    refused(lambda: download.fetch(f"{server}/1000", into), "is larger than")
    os.close(into)
