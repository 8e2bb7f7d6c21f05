"""A commit of a git repository as files: found by its ref, fetched, checked out with its submodules.

A server is as untrusted as a registry: what it sends is bounded before it is unpacked (files, bytes,
submodules), and names that could lead elsewhere are refused (K14, K22). Submodules are repositories like any
other, so the same holds for each; they may not be less private than the repository that names them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from estiva.builder.fetch import address as addresses
from estiva.builder.fetch.address import GitAddress
from estiva.builder.fetch.git import Access, Git, deadline
from estiva.builder.fetch.mirrors import Mirror, Mirrors
from estiva.builder.fetch.places import Below, set_times
from estiva.errors import IntegrityError, InvalidInput, NotFound, Unavailable, oneline

BYTES = 4 << 30  # of all files together
FILES = 1_000_000
REPOSITORIES = 200  # with submodules and theirs
DEPTH = 10
_REFS = 4 << 20  # bytes that a server may answer of refs
_HERE = "refs/estiva/wanted"
_LINK = "160000"


class Commit(NamedTuple):
    """What an address leads to: the object's id (a commit's or an annotated tag's), the commit's, "" while
    it is not known, and the full name of the ref, "" for a commit that was named itself.
    """

    object: str
    commit: str
    ref: str


class _Budget:
    """What is left of the bounds, for a repository and its submodules together."""

    def __init__(self) -> None:
        self.bytes = BYTES
        self.files = FILES
        self.repositories = REPOSITORIES
        self.until = deadline()


class Repository:
    """The one that an address names; `folder` is an empty folder of ours for git's own files.

    `access` says how to come in, `secrets` is where a file with credentials may be. `heard` gets what git
    says of its progress; `mirrors` keep what has come for the next builds. Close it.
    """

    def __init__(
        self,
        address: GitAddress,
        access: Callable[[GitAddress], Access],
        folder: Callable[[], str],
        secrets: str,
        look: Callable[[], None],
        mirrors: Mirrors,
        budget: _Budget | None = None,
        heard: Callable[[bytes], None] | None = None,
    ) -> None:
        self.address = address
        self.access = access
        self.new_folder = folder
        self.secrets = secrets
        self.look = look
        self.budget = budget or _Budget()
        self.heard = heard
        self.mirrors = mirrors
        self.fetching = False  # what fails meanwhile may be the server's fault
        self.git = Git(address, access(address), folder(), secrets, self.budget.until, look)

    def close(self) -> None:
        self.git.close()

    # -- which commit

    def resolve(self) -> Commit:
        """The commit that the address means now. Raises NotFound, Unavailable, and IntegrityError for another
        than its checksum says.
        """
        address = self.address
        if addresses.is_commit(address.ref):
            self._check(address.ref)
            return Commit(address.ref, "", "")
        if address.by_commit:
            if not addresses.is_commit(address.checksum):
                raise InvalidInput(f"{address}: fetch-by-commit needs all digits of a commit as its checksum")
            ref = address.ref
            if ref and not ref.startswith("refs/"):
                ref = "refs/heads/" + ref
            return Commit(address.checksum, "", ref)
        found = self._find(address.ref)
        self._check(found.object, found.commit)
        return found

    def _check(self, *ids: str) -> None:
        wanted = self.address.checksum.lower()
        if wanted and not any(name.startswith(wanted) for name in ids if name):
            got = " or ".join(dict.fromkeys(name for name in ids if name))
            raise IntegrityError(f"{self.address} is {got}, not {wanted}")

    def _find(self, ref: str) -> Commit:
        if not ref:
            lines = self._refs("--symref", "--", "origin", "HEAD")
            target = next((line.split()[1] for line in lines if line.startswith("ref: ")), "")
            pairs = (line.partition("\t") for line in lines if not line.startswith("ref: "))
            names = {name: each for each, _, name in pairs}
            if "HEAD" not in names:
                raise NotFound(f"{self.address} has no default branch", hint="name a branch: URL#BRANCH")
            self._id(names["HEAD"])
            if target:
                addresses.check_ref(target)
            return Commit(names["HEAD"], names["HEAD"], target)
        names = {}
        for line in self._refs("--", "origin", ref, ref + "^{}"):
            each, _, name = line.partition("\t")
            names[name] = each
        for full in (
            "refs/" + ref.removeprefix("refs/"),
            "refs/heads/" + ref.removeprefix("refs/heads/"),
            "refs/tags/" + ref.removeprefix("refs/tags/"),
        ):
            if full in names:
                peeled = names.get(full + "^{}", names[full])
                self._id(names[full])
                self._id(peeled)
                return Commit(names[full], peeled, full)
        hint = (
            "a commit is named by all of its 40 digits" if _hex(ref) else "it is a branch, a tag or refs/..."
        )
        raise NotFound(f"{self.address}: there is no ref {ref} in the repository", hint=hint)

    def _refs(self, *words: str) -> list[str]:
        return self.git.must("ls-remote", *words, most=_REFS).splitlines()

    def _id(self, text: str) -> None:
        if not addresses.is_commit(text):
            raise Unavailable(f"{self.address}: the server answered {oneline(text)[:80]!r} for a commit")

    # -- its files

    def checkout(self, commit: Commit, folder: str, *, keep: bool, submodules: bool, mtime: bool) -> str:
        """Put the files of a commit into the empty `folder`; the commit's id.

        keep: with .git, as of a checkout of that commit alone. mtime: all with the commit's time.
        """
        return self._checkout(commit, folder, keep, submodules, mtime, 0)

    def _checkout(
        self, commit: Commit, folder: str, keep: bool, submodules: bool, mtime: bool, depth: int
    ) -> str:
        git, budget = self.git, self.budget
        budget.repositories -= 1
        if budget.repositories < 0:
            raise InvalidInput(f"{self.address} has over {REPOSITORIES} submodules")
        if keep:
            git.folder = folder + "/.git"
            os.mkdir(git.folder, 0o755)
            return self._unpack(commit, None, folder, keep, submodules, mtime, depth)
        names, about = self._names(commit), str(self.address)
        with self.mirrors.take(names, about, wait=not depth, look=self.look) as mirror:
            git.folder = mirror.path or git.folder
            try:
                return self._unpack(commit, mirror, folder, keep, submodules, mtime, depth)
            except Unavailable:
                if not self.fetching:  # a file in it is not as it was: the next build is not to find that
                    mirror.clear()
                raise

    def _names(self, commit: Commit) -> tuple[str, ...]:
        """What tells mirrors apart: who has come in by other credentials gets nothing of what these gave.
        Over ssh the server is asked each time."""
        address, header = self.address, self.access(self.address).header
        return address.remote, address.credentials, header, str(len(commit.object))

    def _get(self, commit: Commit, mirror: Mirror | None) -> tuple[str, list[tuple[str, str]]]:
        """(the commit's id, its submodules): it is here then, all of it. A damaged mirror is begun anew."""
        budget = self.budget
        known = mirror is not None and mirror.known
        saved = budget.files, budget.bytes
        try:
            return self._got(commit, mirror)
        except Unavailable:
            if mirror is None or not known or self.fetching and not self._damaged():
                raise
            mirror.clear()
            budget.files, budget.bytes = saved
            return self._got(commit, mirror)

    def _got(self, commit: Commit, mirror: Mirror | None) -> tuple[str, list[tuple[str, str]]]:
        git, kept = self.git, f"refs/estiva/kept/{commit.object}"
        self.fetching = False
        kind = ["--object-format=sha256"] if len(commit.object) == 64 else []
        git.must("init", "--quiet", "--template=", *kind)
        known = mirror is not None and git.run("rev-parse", "--verify", "--quiet", kept).status == 0
        if not known or not self._free(commit):
            self._fetch(commit)
        wanted = git.must("rev-parse", "--verify", "--end-of-options", commit.object + "^{commit}")
        links = self._look(wanted)
        if mirror is not None:
            git.must("update-ref", kept, commit.object)
        return wanted, links

    def _damaged(self) -> bool:
        """Whether it is what is here that a fetch has failed by."""
        return self.git.run("fsck", "--connectivity-only", "--no-progress").status != 0

    def _free(self, commit: Commit) -> bool:
        """Whether what is here may be taken without asking the server for it: it has just given its name, or
        gives it to everybody."""
        access = self.access(self.address)
        secret = self.address.credentials or access.header or self.address.scheme == "ssh"
        return bool(commit.ref) and not self.address.by_commit or not secret

    def _unpack(
        self,
        commit: Commit,
        mirror: Mirror | None,
        folder: str,
        keep: bool,
        submodules: bool,
        mtime: bool,
        depth: int,
    ) -> str:
        git = self.git
        wanted, links = self._get(commit, mirror)
        self._check(commit.object, wanted)
        git.must("checkout", "--quiet", "--force", "--detach", wanted, work_tree=folder)
        if submodules and links:
            self._submodules(wanted, links, folder, keep, mtime, depth)
        if keep:
            self._tidy(commit, wanted, folder)
        if mtime:
            seconds = git.must("show", "--no-patch", "--format=%ct", wanted, "--")
            set_times(folder, int(seconds) * 10**9)
        return wanted

    def _fetch(self, commit: Commit) -> None:
        """Get the object: alone, where the server gives it by its id; by its ref; or with all there is."""
        shallow = ["--depth=1", "--no-tags"]
        ways = [[*shallow, "--", "origin", f"+{commit.object}:{_HERE}"]]
        if commit.ref:
            ways.append([*shallow, "--", "origin", f"+{commit.ref}:{_HERE}"])
            ways.append(["--no-tags", "--", "origin", f"+{commit.ref}:{_HERE}"])
        else:
            ways.append(["--tags", "--", "origin", "+refs/heads/*:refs/estiva/heads/*"])
        self.fetching = True
        for number, way in enumerate(ways, 1):
            ended = self.git.run(
                "fetch",
                "--progress",
                "--no-recurse-submodules",
                "--no-write-fetch-head",
                *way,
                hear=self.heard,
            )
            if ended.status == 0:
                if self.git.run("cat-file", "-e", commit.object).status == 0:
                    self.fetching = False
                    return
                if number == len(ways):
                    raise Unavailable(
                        f"{self.address}: the server has no commit {commit.object}",
                        hint="what it leads to has changed just now: try again" if commit.ref else "",
                    )
            elif number == len(ways) or not any(word in ended.said for word in _OTHERWISE):
                raise self.git.failed(ended)

    def _look(self, commit: str) -> list[tuple[str, str]]:
        """Count what a commit holds before any of it is unpacked; its submodules: (path, commit)."""
        links: list[tuple[str, str]] = []
        rest = bytearray()

        def take(data: bytes) -> None:
            rest.extend(data)
            *whole, last = bytes(rest).split(b"\0")
            rest[:] = last
            if len(rest) > 1 << 16:
                raise InvalidInput(f"{self.address} has a name of over {len(rest)} bytes")
            for line in whole:
                self._count(line, links)

        self.git.must("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit, take=take)
        return links

    def _count(self, line: bytes, links: list[tuple[str, str]]) -> None:
        what, _, name = line.partition(b"\t")
        mode, _, each, size = what.decode("ascii", "replace").split()
        budget = self.budget
        budget.files -= 1
        budget.bytes -= int(size) if size.isdecimal() else 0
        if budget.files < 0:
            raise InvalidInput(f"{self.address} has over {FILES} files")
        if budget.bytes < 0:
            raise InvalidInput(f"the files of {self.address} are larger than {BYTES >> 30} GiB")
        if mode == _LINK:
            links.append((os.fsdecode(name), each))
            if len(links) > REPOSITORIES:
                raise InvalidInput(f"{self.address} has over {REPOSITORIES} submodules")

    # -- submodules

    def _submodules(
        self, commit: str, links: list[tuple[str, str]], folder: str, keep: bool, mtime: bool, depth: int
    ) -> None:
        if depth >= DEPTH:
            raise InvalidInput(f"the submodules of {self.address} are nested deeper than {DEPTH}")
        known = self._known(commit)
        for path, wanted in links:
            url, update = known.get(path, ("", ""))
            if update == "none":
                continue
            if not url:
                raise InvalidInput(
                    f"{self.address}: .gitmodules has no url for the submodule {oneline(path)[:200]}",
                    hint="?submodules=false leaves submodules out",
                )
            self._id(wanted)
            address = addresses.submodule(self.address.remote, url)
            if self.address.scheme in ("https", "ssh") and address.scheme not in ("https", "ssh"):
                raise InvalidInput(
                    f"{self.address} has a submodule that would come unencrypted: {address}",
                    hint="?submodules=false leaves submodules out",
                )
            address.ref = wanted
            below = Repository(
                address,
                self.access,
                self.new_folder,
                self.secrets,
                self.look,
                self.mirrors,
                self.budget,
                self.heard,
            )
            try:
                with Below(folder, path) as place:
                    below._checkout(Commit(wanted, "", ""), place, keep, True, mtime, depth + 1)
            finally:
                below.close()

    def _known(self, commit: str) -> dict[str, tuple[str, str]]:
        """What .gitmodules says: path -> (url, update)."""
        ended = self.git.run("config", "--null", "--blob", commit + ":.gitmodules", "--list")
        if ended.status:
            return {}
        sections: dict[str, dict[str, str]] = {}
        for line in ended.output.decode("utf-8", "surrogateescape").split("\0"):
            key, _, value = line.partition("\n")
            start, _, rest = key.partition(".")
            name, _, field = rest.rpartition(".")
            if start == "submodule":
                sections.setdefault(name, {})[field] = value
        return {
            each["path"]: (each.get("url", ""), each.get("update", ""))
            for each in sections.values()
            if "path" in each
        }

    # -- .git as it is kept

    def _tidy(self, commit: Commit, wanted: str, folder: str) -> None:
        """.git of a checkout: its origin and ref, and an index that is equal for an equal commit."""
        git = self.git
        if commit.ref.startswith(("refs/heads/", "refs/tags/")):
            git.must("update-ref", commit.ref, commit.object)
        for name in git.must("for-each-ref", "--format=%(refname)", "refs/estiva/").splitlines():
            git.must("update-ref", "-d", name)
        git.must("config", "--local", "remote.origin.url", self.address.remote)
        git.must("config", "--local", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
        os.unlink(git.folder + "/index")  # it has the files' times and inodes
        git.must("read-tree", "HEAD", work_tree=folder)


_OTHERWISE = (  # what servers say that give nothing away by its id, or nothing without its history
    "not our ref", "unadvertised object", "shallow", "--depth", "couldn't find remote ref", "not advertise",
    "invalid refspec", "does not support", "dumb http",
)  # fmt: skip


def _hex(text: str) -> bool:
    return len(text) >= 4 and all(c in "0123456789abcdef" for c in text)
