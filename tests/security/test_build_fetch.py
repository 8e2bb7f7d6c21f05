"""K14, K22, K24: what a build fetches comes from strangers. Nothing of it leads elsewhere, none of it is endless."""

from __future__ import annotations

import io
import os
import re
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.fetch import address as addresses
from estiva.builder.fetch import bounded, repository
from estiva.builder.files import download
from estiva.errors import EstivaError, InvalidInput
from gitkit import Daemon, Repo, Web

COPY = "FROM scratch\nCOPY . /\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


def refused(lab: Lab, message: str, text: str | None = COPY, **options: object) -> EstivaError:
    with pytest.raises(EstivaError) as caught:
        lab.build(text, **options)
    assert re.search(message, caught.value.message), caught.value.message
    assert len(caught.value.message) < 1500
    return caught.value


# -- what an address may say


@pytest.mark.parametrize(
    "place",
    [
        "https://h/x.git#--upload-pack=id", "https://h/x.git#-x", "https://h/x.git?ref=a..b", "https://h/x.git#a b",
        "https://h/x.git?branch=@{1}", "https://h/x.git#*", "https://h/x.git?checksum=-x", "https:///x.git",
        "https://-oProxyCommand=id/x.git", "ssh://-oProxyCommand=id/x", "git@-oProxyCommand:x",
        "git@h:-x", "ssh://h", "ssh://a;b@h/x", "https://h:99999/x.git", "https://h/x.git?ref=a&ref=b",
        "https://h/x.git?tag=a&branch=b", "https://h/x.git?subdir=a#:b", "git://h/a\nb", "git://h/" + "x" * 5000,
    ],
)  # fmt: skip
def test_addresses_that_are_refused(place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        addresses.parse(place)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "place", ["file:///x.git", "ext::sh -c id", "/x.git", "../x.git", "ftp://h/x.git", "x.git"]
)
def test_what_is_no_address(place: str) -> None:
    assert addresses.parse(place) is None
    with pytest.raises(InvalidInput):
        addresses.of_remote(place)


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::sh -c id", "/etc", "--upload-pack=id", "-u", "../../../x", "fd::3", "http::x", "a b:c"]
)  # fmt: skip
def test_submodules_that_are_refused(lab: Lab, served: Daemon, tmp_path: Path, url: str) -> None:
    Repo(tmp_path, "lib").commit(s="x")
    repo = Repo(tmp_path, "r")
    repo.git("submodule", "--quiet", "add", str(tmp_path / "lib"), "lib")
    repo.git("config", "-f", ".gitmodules", "submodule.lib.url", url)
    repo.commit()
    refused(
        lab,
        "no address of a repository|can't be fetched|leads out of|invalid address",
        context=served.url + "/r",
    )
    assert "lib" in lab.names(lab.build(COPY, context=served.url + "/r?submodules=false"), "/")


def test_no_step_down_for_submodules() -> None:
    class Parent(repository.Repository):
        def __init__(self, place: str) -> None:
            self.address = addresses.of_remote(place)

        def _known(self, commit: str) -> dict[str, tuple[str, str]]:
            return {"lib": ("http://h/lib", "")}

    for place in ("https://h/r.git", "git@h:r", "ssh://h/r"):
        with pytest.raises(InvalidInput, match="would come unencrypted"):
            Parent(place)._submodules("", [("lib", "1" * 40)], "/", False, False, 0)


# -- what a repository may hold


def entry(mode: str, name: bytes, each: str) -> bytes:
    return mode.encode() + b" " + name + b"\0" + bytes.fromhex(each)


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b".", b".git "])
def test_names_that_lead_elsewhere(lab: Lab, served: Daemon, tmp_path: Path, name: bytes) -> None:
    repo = Repo(tmp_path, "r")
    blob = repo.object("blob", b"#!/bin/sh\ntouch /var/tmp/estiva-hooked\n")
    inner = repo.object("tree", entry("100755", b"post-checkout", blob))
    tree = repo.object("tree", entry("40000", name, repo.object("tree", entry("40000", b"hooks", inner))))
    repo.bare_commit(tree)
    with pytest.raises(EstivaError):
        lab.build(COPY, context=served.url + "/r")
    assert not os.path.exists("/var/tmp/estiva-hooked")


def test_a_submodule_behind_a_link(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    lib = Repo(tmp_path, "lib").commit(s="x")
    repo = Repo(tmp_path, "r")
    link = repo.object("blob", str(outside).encode())
    module = repo.object("blob", b'[submodule "x"]\n\tpath = a/b\n\turl = ../lib\n')
    folder = repo.object("tree", entry("160000", b"b", lib))
    for pair in ([("120000", link), ("40000", folder)], [("40000", folder), ("120000", link)]):
        data = entry("100644", b".gitmodules", module) + b"".join(
            entry(mode, b"a", each) for mode, each in pair
        )
        repo.bare_commit(repo.object("tree", data))
        try:
            lab.build(COPY, context=served.url + "/r")
        except EstivaError:
            pass
        assert os.listdir(outside / "b") == []


def test_links_out_of_it(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text("s")
    repo = Repo(tmp_path, "r")
    os.symlink(secret, repo.path / "out")
    os.symlink(secret / "f", repo.path / "Dockerfile")
    repo.commit()
    place = served.url + "/r"
    refused(lab, "reached through a link", context=place + "#:out")
    refused(lab, "no Dockerfile", text=None, context=place)
    refused(lab, "file not found", text="FROM scratch\nCOPY out/f /\n", context=place)


def test_nothing_of_it_or_of_this_machine_runs(
    lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho $0 $* >> {ran}\ncat\n")
    script.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    lines = [
        "[core]",
        f"fsmonitor = {script}",
        f"sshCommand = {script}",
        f"gitProxy = {script}",
        f"hooksPath = {home}",
    ]
    lines += [
        '[filter "x"]',
        f"smudge = {script}",
        f"process = {script}",
        "[credential]",
        f"helper = !{script}",
    ]
    (home / ".gitconfig").write_text("\n".join(lines))
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        os.symlink(script, home / hook)
    for name, value in {
        "HOME": str(home), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": str(script),
        "GIT_SSH_COMMAND": str(script), "GIT_EXEC_PATH": str(home), "GIT_PROXY_COMMAND": str(script),
        "GIT_TEMPLATE_DIR": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "PATH": f"{home}:{os.environ['PATH']}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    os.symlink(script, home / "git")
    repo = Repo(tmp_path, "r")
    repo.commit(f="x", _dot_gitattributes="* filter=x\n")
    (repo.path / ".gitmodules").write_text(
        f'[submodule "x"]\n\tpath = x\n\turl = ./y\n\tupdate = !{script}\n'
    )
    repo.commit()
    image = lab.build(COPY, context=served.url + "/r?keep-git-dir=1")
    assert lab.read(image, "/f") == "x"
    assert not ran.exists(), ran.read_text()


# -- bounds


def test_a_tree_of_trees(lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "FILES", 20_000)
    repo = Repo(tmp_path, "r")
    below, mode = repo.object("blob", b"x"), "100644"
    for _ in range(10):  # 10**10 files
        below, mode = repo.object("tree", b"".join(entry(mode, b"%d" % n, below) for n in range(10))), "40000"
    repo.bare_commit(below)
    refused(lab, "has over 20000 files", context=served.url + "/r")


def test_files_that_are_large(
    lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repo(tmp_path, "r")
    repo.commit(a="0" * (40 << 20))  # small as long as it is packed
    monkeypatch.setattr(repository, "BYTES", 10 << 20)
    refused(lab, "are larger than", context=served.url + "/r")
    monkeypatch.setattr(repository, "BYTES", 1 << 30)
    monkeypatch.setattr(bounded, "FILE", 1 << 20)
    repo.put("b", os.urandom(4 << 20))
    repo.commit()
    refused(lab, "can't be fetched", context=served.url + "/r")


def test_submodules_without_end(
    lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = Repo(tmp_path, "lib").commit(s="x")
    repo = Repo(tmp_path, "r")
    module = repo.object(
        "blob", b"".join(b'[submodule "%d"]\n\tpath = %d\n\turl = ../lib\n' % (n, n) for n in range(10, 40))
    )
    links = b"".join(entry("160000", b"%d" % n, lib) for n in range(10, 40))
    repo.bare_commit(repo.object("tree", entry("100644", b".gitmodules", module) + links))
    monkeypatch.setattr(repository, "REPOSITORIES", 20)
    refused(lab, "has over 20 submodules", context=served.url + "/r")
    before = Repo(tmp_path, "deep0").commit(s="x")
    for number in range(1, 4):
        deep = Repo(tmp_path, f"deep{number}")
        text = f'[submodule "x"]\n\tpath = x\n\turl = ../deep{number - 1}\n'
        data = entry("100644", b".gitmodules", deep.object("blob", text.encode())) + entry(
            "160000", b"x", before
        )
        before = deep.bare_commit(deep.object("tree", data))
    assert lab.read(lab.build(COPY, context=served.url + "/deep3"), "/x/x/x/s") == "x"
    monkeypatch.setattr(repository, "DEPTH", 2)
    refused(lab, "nested deeper than 2", context=served.url + "/deep3")


class Server:
    """Answers each connection with what `speak` writes; `url` is git://."""

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        self.speak = speak
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(4096)
                self.speak(connection)
            except OSError:
                pass

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def packet(text: bytes) -> bytes:
    return b"%04x" % (len(text) + 4) + text


def refs_without_end(connection: socket.socket) -> None:
    connection.sendall(packet(b"1" * 40 + b" refs/heads/main\0multi_ack\n"))
    number = 0
    while True:
        lines = (packet(b"%040x refs/heads/%0200d\n" % (number + n, number + n)) for n in range(1000))
        connection.sendall(b"".join(lines))
        number += 1000


def silence(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("speak", [refs_without_end, silence])
def test_servers_without_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, speak: Callable[[socket.socket], None]
) -> None:
    monkeypatch.setattr(bounded, "SILENT", 2.0)
    monkeypatch.setattr(bounded, "MEMORY", 64 << 20)
    server = Server(speak)
    try:
        refused(lab, "can't be fetched|said nothing|wrote more", context=f"git://127.0.0.1:{server.port}/r")
    finally:
        server.close()


def test_it_ends_when_the_build_does(lab: Lab) -> None:
    pids: list[str] = []

    class Enough(Exception):
        pass

    def look() -> None:
        found = [name for name in os.listdir("/proc") if name.isdecimal() and _runs_git(name)]
        if found:
            pids.extend(found)
            raise Enough

    def _runs_git(pid: str) -> bool:
        try:
            return b"127.0.0.1:%d" % server.port in Path(f"/proc/{pid}/cmdline").read_bytes() or (
                b"ls-remote" in Path(f"/proc/{pid}/cmdline").read_bytes()
                and lab.folder.encode() in Path(f"/proc/{pid}/environ").read_bytes()
            )
        except OSError:
            return False

    server = Server(silence)
    try:
        from estiva.builder.fetch import folders
        from estiva.builder.files.workspace import Workspace
        from estiva.builder.request import Request

        workspace = Workspace(lab.store.paths)
        address = addresses.parse(f"git://127.0.0.1:{server.port}/r")
        assert address is not None
        found = folders.repository(Request(), workspace, address, look)
        with pytest.raises(Enough):
            found.resolve()
        found.close()
        workspace.close()
        assert pids and not any(_runs_git(pid) for pid in pids)
        assert os.listdir(lab.store.paths.run_root + "/build") == []
    finally:
        server.close()


# -- secrets


def test_a_token_is_nowhere_to_be_seen(lab: Lab, tmp_path: Path) -> None:
    Repo(tmp_path, "r.git").commit(f="x")
    token = "t0" + os.urandom(8).hex()
    seen: list[str] = []
    modes: set[int] = set()

    class Watching(Web):
        def process_request(self, request: object, client_address: object) -> None:
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        data = Path(f"/proc/{pid}/{name}").read_bytes()
                    except OSError:
                        continue
                    if token.encode() in data and int(pid) != os.getpid():
                        seen.append(data.decode(errors="replace"))
            for folder, _, names in os.walk(lab.store.paths.run_root + "/build"):
                modes.update(os.stat(f"{folder}/{name}").st_mode & 0o777 for name in names)
            super().process_request(request, client_address)  # type: ignore[arg-type]

    web = Watching(tmp_path, token)
    try:
        place = web.url.replace("//", f"//x-access-token:{token}@") + "/r.git"
        images = [lab.build(COPY, context=place), lab.build(f"FROM scratch\nADD {place} /\n")]
        images.append(lab.build(COPY, context=web.url + "/r.git", secrets={"GIT_AUTH_TOKEN": token.encode()}))
        images.append(lab.build(COPY, context=place + "?keep-git-dir=1"))
        assert token not in lab.read(images[-1], "/.git/config")
    finally:
        web.close()
    assert seen == [] and modes == {0o600}
    assert not any(token in str(image.config) for image in images)
    for row in lab.store.db.read("SELECT key FROM build_cache"):
        assert token not in str(row)
    error = refused(lab, "can't be fetched", context=place)
    assert token not in error.message + error.hint
    for folder, _, names in os.walk(lab.folder + "/root/cache"):
        for name in names:
            assert token.encode() not in Path(folder, name).read_bytes()


# -- archives and files of the web


def test_an_archive_leads_nowhere(lab: Lab, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in (
            ("../../escaped", tarfile.REGTYPE, ""), ("link", tarfile.SYMTYPE, str(tmp_path)),
            ("link/through", tarfile.REGTYPE, ""), ("hard", tarfile.LNKTYPE, "/etc/passwd"),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            single = io.BytesIO()
            with tarfile.open(fileobj=single, mode="w") as alone:
                alone.addfile(member)
            try:
                lab.build(COPY, context=io.BytesIO(single.getvalue()))
            except EstivaError:
                pass
            archive.addfile(member)
    with pytest.raises(EstivaError):
        lab.build(COPY, context=io.BytesIO(out.getvalue()))
    assert os.listdir(tmp_path) == []
    assert not [name for _, _, names in os.walk(lab.folder) for name in names if name == "escaped"]


def test_a_context_that_is_a_bomb(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    from estiva.store.layers import codec

    monkeypatch.setattr(codec.Bound.__init__, "__defaults__", (10 << 20, 100, 1 << 40))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    member = tarfile.TarInfo("f")
    member.size = 200 << 20
    data = packer.compress(member.tobuf()) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(200))
    refused(lab, "decompression bomb", context=io.BytesIO(data + packer.flush()))


def test_a_url_without_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    def slow(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)

    def turning(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n")

    monkeypatch.setattr(download, "LIMIT", 1 << 20)
    monkeypatch.setattr(download, "LONGEST", 2.0)
    for speak, message in (
        (endless, "is larger than 1 MiB"),
        (slow, "took longer"),
        (turning, "infinite loop|redirect"),
    ):
        server = Server(speak)
        try:
            refused(lab, message, context=f"http://127.0.0.1:{server.port}/")
        finally:
            server.close()
