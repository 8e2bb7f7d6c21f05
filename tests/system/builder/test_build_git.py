"""Repositories as build contexts, named contexts and sources of ADD, from git's own servers on loopback."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildlab import Lab
from estiva import programs
from estiva.builder.fetch import repository
from estiva.builder.fetch.mirrors import Mirrors
from estiva.errors import EstivaError
from gitkit import Daemon, Repo, Web


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


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, token="t0ken")
    yield made
    made.close()


def refused(lab: Lab, message: str, text: str | None = None, **options: object) -> EstivaError:
    with pytest.raises(EstivaError) as caught:
        lab.build(text, **options)
    assert message in caught.value.message, caught.value.message
    return caught.value


def sample(top: Path) -> Repo:
    """Two branches, an annotated tag, a submodule, a link, a file that may be run."""
    Repo(top, "lib").commit(s="of the submodule\n")
    repo = Repo(top, "app.git")
    repo.put("run.sh", "#!/bin/sh\n", 0o755)
    repo.put("out", "not for the image\n")
    os.symlink("d", repo.path / "link")
    repo.git("submodule", "--quiet", "add", str(top / "lib"), "m/lib")
    repo.git("config", "-f", ".gitmodules", "submodule.m/lib.url", "../lib")
    repo.commit(
        Dockerfile="FROM box\nCOPY . /c\n",
        d__Dockerfile="FROM scratch\nCOPY . /in-d\n",
        d__y="y",
        _dot_dockerignore="out\n",
    )
    repo.git("tag", "-a", "-m", "v1", "v1")
    repo.git("checkout", "-q", "-b", "side")
    repo.commit(side="of the branch\n")
    repo.git("checkout", "-q", "main")
    return repo


def test_a_repository_as_the_context(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    sample(tmp_path)
    place = served.url + "/app.git"
    image = lab.build(None, context=place)
    names = [".dockerignore", ".gitmodules", "Dockerfile", "d", "link", "m", "run.sh"]
    assert lab.names(image, "/c") == names
    assert lab.names(image, "/c/m/lib") == ["s"] and lab.read(image, "/c/m/lib/s") == "of the submodule\n"
    assert lab.mode(image, "/c/run.sh") == "0755 0:0" and lab.mode(image, "/c/Dockerfile") == "0644 0:0"
    assert lab.mode(image, "/c/d") == "0755 0:0" and stat.S_ISLNK(lab.stat(image, "/c/link").st_mode)

    assert lab.build(None, context=place).id == image.id
    assert lab.statuses()["COPY . /c"] == "cached"
    assert "side" in lab.names(lab.build(None, context=place + "#side"), "/c")
    assert "side" in lab.names(lab.build(None, context=place + "?branch=side&submodules=false"), "/c")
    assert lab.names(lab.build(None, context=place + "?tag=v1&submodules=0"), "/c/m/lib") == []
    assert lab.names(lab.build(None, context=place + "#v1:d"), "/in-d") == ["Dockerfile", "y"]
    assert lab.names(lab.build(None, context=place, dockerfile="d/Dockerfile"), "/in-d") == names


def test_which_commit(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    repo = sample(tmp_path)
    place = served.url + "/app.git"
    first = repo.git("rev-parse", "main")
    tag = repo.git("rev-parse", "v1")
    repo.commit(later="x")
    old = lab.build(None, context=f"{place}#{first}")
    assert "later" not in lab.names(old, "/c")
    assert lab.build(None, context=f"{place}?checksum={first}&fetch-by-commit").id == old.id
    for checksum in (first, first[:8], tag[:8]):
        assert lab.build(None, context=f"{place}?tag=v1&checksum={checksum}").id == old.id
    refused(lab, f"not {first[:8]}", context=f"{place}?checksum={first[:8]}")
    refused(lab, "there is no ref nothing", context=place + "#nothing")
    assert "40 digits" in refused(lab, "there is no ref", context=f"{place}#{first[:7]}").hint
    refused(lab, "there is no folder none", context=place + "#:none")
    refused(lab, "reached through a link", context=place + "#:link")
    refused(lab, "can't be fetched", context=served.url + "/none")
    refused(lab, "the server has no commit 1111", context=f"{place}#{'1' * 40}")


def test_its_git_folder(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    repo = sample(tmp_path)
    place = served.url + "/app.git"
    text = "FROM scratch\nCOPY . /\n"
    for word in (place + "?tag=v1&keep-git-dir=1", place + "#v1"):
        args = {} if "?" in word else {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}
        image = lab.build(text, context=word, build_args=args)
        assert lab.read(image, "/.git/HEAD").strip() == repo.git("rev-parse", "v1^{commit}")
        assert lab.read(image, "/.git/refs/tags/v1").strip() == repo.git("rev-parse", "v1")
        assert place in lab.read(image, "/.git/config")
        assert not {"hooks", "logs", "FETCH_HEAD"} & set(lab.names(image, "/.git"))
        assert lab.warnings() == []
    lab.build(text, context=place + "#v1", build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "true"})
    assert lab.statuses()["COPY . /"] == "cached"  # equal, whenever it was checked out


def test_add_of_a_repository(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    repo = sample(tmp_path)
    place = served.url + "/app.git"
    head = repo.git("rev-parse", "main")
    text = f"""FROM box
ADD {place} /a
ADD {place}#v1:d /b/
ADD --chown=user --chmod=700 --link {place} /c
ADD --keep-git-dir=true --checksum={head[:10]} {place} /d
ADD --exclude=d {place} /e
"""
    image = lab.build(text)
    assert lab.read(image, "/a/m/lib/s") == "of the submodule\n" and ".git" not in lab.names(image, "/a")
    assert lab.names(image, "/b") == ["Dockerfile", "y"] and lab.mode(image, "/b/y") == "0644 0:0"
    assert lab.mode(image, "/c/run.sh") == "0700 1000:1001"
    assert lab.read(image, "/d/.git/HEAD").strip() == head
    assert "d" not in lab.names(image, "/e") and "out" in lab.names(image, "/e")
    assert image.config["history"][-5]["created_by"] == f"ADD {place} /a # buildkit"
    assert lab.build(text).id == image.id
    assert all(status != "done" for name, status in lab.statuses().items() if name.startswith("ADD"))

    repo.commit(more="x")
    again = lab.build(f"FROM box\nADD {place} /a\nADD {place}#v1:d /b/\n")
    assert "more" in lab.names(again, "/a")
    for line, message in (
        (f"ADD --checksum={head[:10]} {place} /d", f"not {head[:10]}"),
        (f"ADD --checksum=sha256:00 {place} /d", "invalid --checksum"),
        (f"ADD --checksum=00 {place}?checksum=11 /d", "are not the same"),
        (f"ADD --keep-git-dir=false {place}?keep-git-dir=1 /d", "are not the same"),
        (f"COPY {place} /d", "COPY can't take a git repository"),
        (f"ADD {place}#--upload-pack=/bin/sh /d", "invalid git ref"),
        (f"ADD {place}?x=1 /d", "unknown query 'x'"),
    ):
        refused(lab, message, f"FROM scratch\n{line}\n")
    refused(lab, "the build has no network", f"FROM scratch\nADD {place} /\n", network="none")


def test_a_private_one(lab: Lab, web: Web, tmp_path: Path) -> None:
    sample(tmp_path)
    place = web.url + "/app.git"
    error = refused(lab, "can't be fetched", context=place)
    assert "GIT_AUTH_TOKEN" in error.hint
    host = web.url.removeprefix("http://")
    # the submodule is another repository: it does not get the token, as with docker
    refused(lab, "/lib#", context=place, secrets={"GIT_AUTH_TOKEN": b"t0ken\n"})
    assert {given for path, given in web.seen if path.startswith("/lib")} == {""}
    place += "?submodules=false"
    for secrets in (
        {"GIT_AUTH_TOKEN": b"t0ken\n"},
        {"GIT_AUTH_HEADER": web.wanted.encode()},
        {f"GIT_AUTH_TOKEN.{host}": b"t0ken", "GIT_AUTH_TOKEN": b"wrong"},
    ):
        image = lab.build(None, context=place, secrets=secrets)
        assert "run.sh" in lab.names(image, "/c")
    added = lab.build(
        f"FROM scratch\nADD http://x-access-token:t0ken@{host}/app.git?submodules=false /\n", context=None
    )
    assert "t0ken" not in str(added.config) and "xxxxx" in str(added.config["history"])
    wrong = refused(lab, "can't be fetched", context=place, secrets={"GIT_AUTH_TOKEN": b"wr0ng"})
    assert "wr0ng" not in wrong.message + wrong.hint

    elsewhere = Web(tmp_path)
    try:  # credentials go nowhere that a redirect leads to
        web.moved["/app.git"] = elsewhere.url + "/app.git"
        refused(lab, "can't be fetched", context=place, secrets={"GIT_AUTH_TOKEN": b"t0ken"})
        assert elsewhere.seen == []
        assert "run.sh" in lab.names(lab.build(None, context=place), "/c")  # without them it may
        assert {given for _, given in elsewhere.seen} == {""}
    finally:
        elsewhere.close()


def test_times_of_the_commit(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    sample(tmp_path)
    place = served.url + "/app.git?submodules=false"
    text = "FROM scratch\nCOPY . /\n"
    assert lab.stat(lab.build(text, context=place), "/d/y").st_mtime > 1_700_000_000
    image = lab.build(text, context=place + "&mtime=commit", no_cache=True)
    assert lab.stat(image, "/d/y").st_mtime == 1_700_000_000
    assert lab.stat(image, "/d").st_mtime == 1_700_000_000


def test_sha256_repositories(lab: Lab, served: Daemon, tmp_path: Path) -> None:
    head = Repo(tmp_path, "new", kind="sha256").commit(f="x")
    assert len(head) == 64
    for place in ("/new", f"/new#{head}"):
        assert lab.names(lab.build("FROM scratch\nCOPY f /\n", context=served.url + place), "/") == ["f"]


def test_over_ssh(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = sample(tmp_path)
    said = tmp_path / "said"
    script = tmp_path / "bin" / "ssh"  # in the place of ssh and of the server's shell
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" "agent:$SSH_AUTH_SOCK" >> {said}\n'
        f'[ -n "$SSH_AUTH_SOCK" ] || {{ echo "git@h: Permission denied (publickey)." >&2; exit 255; }}\n'
        f'for last; do :; done; cd {tmp_path} && eval "exec $last"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(programs, "FOLDERS", (str(script.parent), *programs.FOLDERS))
    place = "git@h:app.git#main"
    error = refused(lab, "Permission denied", context=place)
    assert "--ssh default" in error.hint
    agent = str(tmp_path / "agent")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(agent)
    image = lab.build(None, context=place, ssh={"default": agent})
    assert lab.read(image, "/c/m/lib/s") == "of the submodule\n"
    added = lab.build(
        f"FROM scratch\nADD ssh://git@h{tmp_path}/app.git?submodules=0 /\n", ssh={"default": agent}
    )
    assert "run.sh" in lab.names(added, "/")
    words = said.read_text().splitlines()
    assert "git@h" in words and "git-upload-pack 'lib'" in words and f"agent:{agent}" in words
    for option in (
        "BatchMode=yes",
        "IdentityFile=none",
        "ForwardAgent=no",
        "StrictHostKeyChecking=accept-new",
    ):
        assert option in words
    assert words[words.index("-F") + 1] == "/dev/null"
    key = tmp_path / "key 1%"
    key.write_text("")
    with_key = "git@h:app.git?submodules=0"
    refused(lab, "Permission denied", context=with_key, ssh={"default": [str(key)]})
    assert f'IdentityFile="{str(key).replace("%", "%%")}"' in said.read_text().splitlines()
    refused(lab, "can't have a quote", context=with_key, ssh={"default": [str(key) + '"']})
    listening.close()
    assert repo.git("status", "--porcelain") == ""


def test_without_git(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "FOLDERS", ())
    error = refused(lab, "git is not installed", context="git://127.0.0.1:1/x")
    assert "apt install git" in error.hint


def test_a_ref_that_moves_meanwhile(
    lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is built is the commit that was found, and its key is that one's (K20)."""
    repo = Repo(tmp_path, "r")
    first = repo.commit(f="1")
    place = served.url + "/r"
    resolve = repository.Repository.resolve

    def moving(self: repository.Repository) -> repository.Commit:
        found = resolve(self)
        repo.commit(f="2")
        return found

    text = f"FROM scratch\nADD {place} /\n"
    monkeypatch.setattr(repository.Repository, "resolve", moving)
    assert lab.read(lab.build(text), "/f") == "1"
    monkeypatch.undo()
    assert lab.read(lab.build(text), "/f") == "2"
    repo.git("reset", "-q", "--hard", first)
    assert lab.read(lab.build(text), "/f") == "1" and lab.statuses()[f"ADD {place} /"] == "cached"


def test_a_ref_is_one_commit_in_a_build(
    lab: Lab, served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repo(tmp_path, "r")
    repo.commit(f="1")
    place = served.url + "/r"
    checkout = repository.Repository.checkout

    def moving(self: repository.Repository, *words: Any, **options: Any) -> str:
        repo.commit(f="2")
        return checkout(self, *words, **options)

    monkeypatch.setattr(repository.Repository, "checkout", moving)
    image = lab.build(f"FROM scratch\nCOPY f /a\nADD {place} /b/\n", context=place)
    assert lab.read(image, "/a") == lab.read(image, "/b/f") == "1"


# -- what is kept of a repository


def mirrors(lab: Lab) -> Mirrors:
    return Mirrors(lab.store.paths.cache + "/build")


def packs(lab: Lab) -> list[int]:
    """Bytes of the packs that are kept, as they came."""
    found = sorted(Path(mirrors(lab).folder).glob("*/repository/objects/pack/*.pack"), key=os.path.getmtime)
    return [path.stat().st_size for path in found]


def test_the_next_build_fetches_what_has_changed(lab: Lab, web: Web, tmp_path: Path) -> None:
    web.wanted = ""
    repo = Repo(tmp_path, "r")
    repo.put("large", os.urandom(300_000))
    repo.commit(a="1")
    text, place = "FROM scratch\nCOPY . /\n", web.url + "/r/.git"
    lab.build(text, context=place)
    assert [size > 300_000 for size in packs(lab)] == [True]
    web.seen.clear()
    assert lab.names(lab.build(text, context=place), "/") == ["a", "large"]
    assert sum("git-upload-pack" in path for path, _ in web.seen) == 1, "only what its refs are"
    repo.commit(b="2")
    image = lab.build("FROM scratch\nADD --link " + place + " /\n")
    assert lab.names(image, "/") == ["a", "b", "large"]
    assert [size > 300_000 for size in packs(lab)] == [True, False]
    ((name, about, size, _, busy),) = mirrors(lab).kept()
    assert about.startswith(place) and size > 300_000 and not busy
    assert mirrors(lab).remove(name) and not mirrors(lab).kept()


@pytest.mark.parametrize("what", ["pack", "HEAD", "HEAD/", "shallow", "refs", "all"])
def test_a_damaged_mirror_is_begun_anew(lab: Lab, served: Daemon, tmp_path: Path, what: str) -> None:
    repo = Repo(tmp_path, "r")
    repo.commit(a="1" * 5000)
    lab.build("FROM scratch\nCOPY . /\n", context=served.url + "/r")
    repo.commit(b="2")
    kept = next(Path(mirrors(lab).folder).glob("*/repository"))
    for path in [each for each in kept.rglob("*") if each.is_file()]:
        if what == "all" or what in str(path.relative_to(kept)):
            os.chmod(path, 0o600)
            path.write_bytes(b"\0" * 40)
    if what == "HEAD/":
        (kept / "HEAD").unlink()
        (kept / "HEAD").mkdir()
    (kept / "index.lock").touch()
    (kept / "shallow.lock").touch()
    assert lab.names(lab.build("FROM scratch\nCOPY . /\n", context=served.url + "/r"), "/") == ["a", "b"]


def test_credentials_open_no_mirror_for_others(lab: Lab, web: Web, tmp_path: Path) -> None:
    """Not even of a commit that is named by all of its digits, for which nobody need be asked."""
    commit = Repo(tmp_path, "r").commit(a="secret")
    text, place = "FROM scratch\nCOPY . /\n", f"{web.url}/r/.git#{commit}"
    for _ in range(2):
        lab.build(text, context=place, secrets={"GIT_AUTH_TOKEN": b"t0ken"})
    refused(lab, "can't be fetched", text, context=place)
    refused(lab, "can't be fetched", text, context=place, secrets={"GIT_AUTH_TOKEN": b"other"})
    web.wanted = "Basic withdrawn"
    refused(lab, "can't be fetched", text, context=place, secrets={"GIT_AUTH_TOKEN": b"t0ken"})


def test_one_build_at_a_time_has_a_mirror(lab: Lab) -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    kept = mirrors(lab)
    with kept.take(["x"], "x", wait=True, look=enough) as mine:
        assert mine.path and not kept.take(["x"], "x", wait=False, look=enough).path
        with pytest.raises(Enough):
            kept.take(["x"], "x", wait=True, look=enough)
        assert [busy for *_, busy in kept.kept()] == [True] and not kept.remove(kept.kept()[0][0])
        with kept.take(["y"], "y", wait=True, look=enough) as other:
            assert other.path not in ("", mine.path)
    kept.prune(3600)
    assert len(kept.kept()) == 2
    kept.prune()
    assert not kept.kept()
