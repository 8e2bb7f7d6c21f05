"""The sources of an ADD that are elsewhere: repositories and files of the web."""

from __future__ import annotations

from estiva.builder.files import url as urls
from estiva.builder.frontend.errors import bad
from estiva.errors import InvalidInput
from estiva.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.builder.fetch.address import GitAddress
    from estiva.builder.fetch.repository import Commit, Repository
    from estiva.builder.files.destination import Destination
    from estiva.builder.files.download import Download
    from estiva.builder.frontend import ignore
    from estiva.builder.frontend.instructions import Copy
    from estiva.builder.steps.context import StepContext


class Remotes:
    """Those of one ADD; close it. `local` are the other sources. Raises DockerfileError for what can't be."""

    def __init__(self, context: StepContext, typed: Copy, sources: list[str], checksum: str) -> None:
        self.context = context
        self.typed = typed
        self.checksum = checksum
        self.local: list[str] = []
        self.urls: list[str] = []
        self.addresses: list[GitAddress] = []
        self.downloads: list[Download] = []
        self.repositories: list[tuple[Repository, Commit]] = []
        for source in sources:
            address = self._git(source)
            if address is not None:
                self.addresses.append(address)
            elif urls.is_url(source):
                self.urls.append(source)
            else:
                self.local.append(source)
        self._check(sources)

    def close(self) -> None:
        while self.repositories:
            self.repositories.pop()[0].close()

    def __len__(self) -> int:
        return len(self.urls) + len(self.addresses)

    def _git(self, source: str) -> GitAddress | None:
        if ":" not in source:  # as every address has it
            return None
        from estiva.builder.fetch import address as addresses

        try:
            address = addresses.parse(source)
        except InvalidInput as error:
            raise bad(self.typed.source, error.message, error.hint) from None
        if address is None:
            return None
        given = self.typed.keep_git_dir
        if given is not None and address.keep_git_dir not in (None, given):
            raise bad(
                self.typed.source, "--keep-git-dir and the keep-git-dir of the address are not the same"
            )
        address.keep_git_dir = bool(given) or address.keep_git_dir is True
        if self.checksum and address.checksum not in ("", self.checksum):
            raise bad(self.typed.source, "--checksum and the checksum of the address are not the same")
        address.checksum = self.checksum or address.checksum
        return address

    def _check(self, sources: list[str]) -> None:
        source, typed = self.typed.source, self.typed
        elsewhere = [urls.redacted(url) for url in self.urls] + [str(each) for each in self.addresses]
        if elsewhere and typed.name == "COPY":
            what = "a URL" if self.urls else "a git repository"
            raise bad(source, f"COPY can't take {what}: {elsewhere[0]}", "use ADD")
        if elsewhere and self.context.request.network == "none":
            hint = "leave out --network none"
            raise bad(source, f"ADD can't fetch {elsewhere[0]}: the build has no network", hint)
        if not self.checksum:
            return
        if len(elsewhere) != 1 or len(sources) != 1:
            raise bad(source, "--checksum needs exactly one source, a URL or a git repository")
        if self.urls:
            digests.parse(self.checksum)
        elif not _is_hex(self.checksum):
            raise bad(source, f"invalid --checksum {self.checksum[:80]!r}", "of a repository it is a commit")

    def resolve(self) -> None:
        """Fetch the files, and find out at which commits the repositories are. Raises EstivaError."""
        if not self.urls and not self.addresses:
            return
        from estiva.builder.fetch import credentials, folders
        from estiva.builder.files import download

        context = self.context
        for url in self.urls:
            header = credentials.of_url(context.request, url)
            with context.fetching("http", urls.redacted(url)) as told:
                got = download.fetch(
                    url, context.workspace.file(), self.checksum, header=header, look=context.look, told=told
                )
            self.downloads.append(got)
            context.request.note(urls.redacted(url), got.content)
        for address in self.addresses:
            found = folders.repository(context.request, context.workspace.workspace, address, context.look)
            try:
                commit = folders.resolve(context.request, found)
                self.repositories.append((found, commit))
                context.request.note(str(address), commit.commit or commit.object)
            except BaseException:
                found.close()
                raise

    def names(self) -> list[str]:
        """What a cache's key has in the place of the sources: for a URL, the name of the file."""
        return [urls.name_of(url) for url in self.urls]

    def contents(self) -> list[Any]:
        """What a cache's key tells of them: a file's content; the commit, and what of it is taken."""
        commits = []
        for found, commit in self.repositories:
            address = found.address
            keep = address.keep_git_dir is True and not address.folder
            which = commit.object if keep else commit.commit or commit.object
            submodules = address.submodules is not False
            commits.append(["git", which, address.folder, keep, submodules, commit.ref if keep else ""])
        return [*(each.content for each in self.downloads), *commits]

    def copy(self, to: Destination, path: str, exclude: ignore.Matcher) -> None:
        """Put them into `path` of a rootfs."""
        for download in self.downloads:
            self._write(download, to, path)
        if not self.repositories:
            return
        from estiva.builder.fetch import folders
        from estiva.builder.files.copier import Copier

        for found, commit in self.repositories:
            address = found.address
            mtime = address.mtime == "commit"
            keep = address.keep_git_dir is True
            with self.context.fetching("git", str(address)) as told:
                found.heard = told.heard
                workspace = self.context.workspace.workspace
                tree = folders.checkout(workspace, found, commit, keep=keep, mtime=mtime)
            tree.going = self.context.look
            try:
                Copier(tree, to, exclude=exclude).copy("", "", path)
            finally:
                tree.close()

    def _write(self, download: Download, to: Destination, path: str) -> None:
        mtime = download.mtime_ns or 0  # of a server that tells none, as BuildKit has it
        if not self.typed.unpack:
            to.write(path, download.name, download.fd, mode=0o600, mtime_ns=mtime)
            return
        from estiva.builder.files import untar

        if not untar.is_archive(download.fd):
            raise InvalidInput(f"{download.name} is not an archive", hint="leave out --unpack")
        untar.extract(download.fd, self.context.workspace.file(), path, to, self.context.look)


def _is_hex(text: str) -> bool:
    return len(text) <= 64 and all(c in "0123456789abcdefABCDEF" for c in text)
