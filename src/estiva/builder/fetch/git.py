"""git, called with settings of ours alone: no configuration, hook, filter or credential helper of this
machine or of the repository, no question asked, no transport but those that a build may use (K14).

What is secret is in one file, 0600, below the run root, which goes when the work is done: a password is on no
command line and in no environment (K24).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Sequence

from estiva import programs
from estiva.builder.fetch import bounded
from estiva.builder.fetch.address import GitAddress
from estiva.builder.files.url import basic, redacted
from estiva.errors import InvalidInput, Unavailable, Unsupported, oneline
from estiva.files import new_directory

_SETTINGS = """\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tlogAllRefUpdates = false
\tpackedGitLimit = 256m
\tpackedGitWindowSize = 32m
\tbigFileThreshold = 64m
\tprotectHFS = true
\tprotectNTFS = true
[protocol]
\tversion = 2
[fetch]
\tunpackLimit = 1
\trecurseSubmodules = false
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[init]
\tdefaultBranch = main
[pack]
\tthreads = 2
[credential]
\thelper =
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
"""
_TELLING = ("fatal:", "error:", "ERROR:", "remote: ", "ssh:", "Host key", "WARNING: REMOTE HOST")
_PROGRESS = re.compile(
    r"(remote: )?(Enumerating|Counting|Compressing|Receiving|Resolving|Unpacking|Updating|Total)\b.*\d"
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")


class Access:
    """How to come in: `header` for http(s) ("" for none), `within` the addresses that get it; over ssh,
    `agent` is the socket of an agent and `keys` are files.
    """

    def __init__(self, header: str = "", within: str = "", agent: str = "", keys: Sequence[str] = ()) -> None:
        self.keys = list(keys)
        self.header = header
        self.within = within
        self.agent = agent


class Git:
    """Of one repository, in `folder` (its GIT_DIR), until the time.monotonic() `until`; close it."""

    def __init__(
        self,
        address: GitAddress,
        access: Access,
        folder: str,
        secrets: str,
        until: float,
        look: Callable[[], None],
    ) -> None:
        self.program = programs.find("git")
        if not self.program:
            raise Unsupported(
                f"{address} can't be fetched: git is not installed",
                hint="`apt install git` installs it on Debian",
            )
        self.address = address
        self.agent = access.agent
        self.keys = access.keys
        self.folder = folder
        self.until = until
        self.look = look
        self.fd, self.secret = new_directory(secrets, "")
        try:
            self._configure(access)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        shutil.rmtree(self.secret, ignore_errors=True)
        os.close(self.fd)

    def _configure(self, access: Access) -> None:
        text = _SETTINGS
        header = access.header
        if self.address.credentials:
            header = basic(self.address.credentials)
        if "\n" in header or "\r" in header or "\0" in header:
            raise InvalidInput(f"the credentials for {self.address.host} hold a line break")
        # with credentials no redirect is followed: git would send them to wherever it leads
        text += f"\tfollowRedirects = {'false' if header else 'initial'}\n"
        if header:
            within = self.address.remote if self.address.credentials else access.within
            text += f'[http "{_quoted(within)}"]\n\textraHeader = "Authorization: {_quoted(header)}"\n'
        text += f'[remote "origin"]\n\turl = "{_quoted(self.address.remote)}"\n'
        fd = os.open(self.secret + "/config", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    def environment(self, work_tree: str) -> dict[str, str]:
        given = {name: os.environ[name] for name in _PROXIES + _CERTIFICATES if name in os.environ}
        if work_tree:
            given["GIT_WORK_TREE"] = work_tree
        if self.agent:
            given["SSH_AUTH_SOCK"] = self.agent
        return programs.environment(
            HOME="/nonexistent",
            GIT_DIR=self.folder,
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL=self.secret + "/config",
            GIT_ATTR_NOSYSTEM="1",
            GIT_TERMINAL_PROMPT="0",
            GIT_ASKPASS="",
            GIT_NO_REPLACE_OBJECTS="1",
            GIT_LITERAL_PATHSPECS="1",
            GIT_ALLOW_PROTOCOL=_protocols(self.address.scheme),
            GIT_PROTOCOL_FROM_USER="0",
            GIT_SSH_COMMAND=self._ssh(),
            GIT_SSH_VARIANT="ssh",
            **given,
        )

    def _ssh(self) -> str:
        """ssh without a configuration or keys but those that the caller lends. A host that is known must have
        the key that is known; one that is not is taken as it is, as docker takes it.
        """
        known = [self.secret + "/known_hosts", os.path.expanduser("~/.ssh/known_hosts")]
        options = [
            "BatchMode=yes", "StrictHostKeyChecking=accept-new",
            "ClearAllForwardings=yes", "ForwardAgent=no", "PermitLocalCommand=no",
            "ConnectTimeout=60", "ServerAliveInterval=30",
            "UserKnownHostsFile=" + " ".join(path for path in known if not set(path) & set(" '\"\\%")),
        ]  # fmt: skip
        keys = [os.path.abspath(key).replace("%", "%%") for key in self.keys]
        if any(c in key for key in keys for c in '"\\\n$'):
            raise InvalidInput(
                "the path of an ssh key can't have a quote, a backslash, a $ or a line break in it"
            )
        options += [f'IdentityFile="{key}"' for key in keys] or ["IdentityFile=none"]
        return "ssh -F /dev/null " + " ".join("-o " + shlex.quote(option) for option in options)

    def run(
        self,
        *words: str,
        work_tree: str = "",
        most: int = 1 << 20,
        take: Callable[[bytes], None] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> bounded.Ended:
        """One command of git's, to its end, whatever that is. Raises Unavailable as bounded.run does."""
        return bounded.run(
            [self.program, *words],
            self.environment(work_tree),
            cwd=work_tree or self.folder,
            what=f"git {words[0]} of {self.address}",
            most=most,
            take=take,
            until=self.until,
            look=self.look,
            hear=hear,
        )

    def must(
        self,
        *words: str,
        work_tree: str = "",
        most: int = 1 << 20,
        take: Callable[[bytes], None] | None = None,
    ) -> str:
        """Its output as text. Raises Unavailable with what git says when it fails."""
        ended = self.run(*words, work_tree=work_tree, most=most, take=take)
        if ended.status:
            raise self.failed(ended)
        return ended.output.decode("utf-8", "surrogateescape").strip()

    def failed(self, ended: bounded.Ended) -> Unavailable:
        said = redacted(ended.said).replace("\r", "\n").splitlines()
        lines = [line.strip() for line in said if line.strip() and not _PROGRESS.match(line)]
        told = [line for line in lines if line.startswith(_TELLING) or "Permission denied" in line]
        told = told or lines
        why = oneline("; ".join(told[:3]))[:500] if told else f"git ended with status {ended.status}"
        if ended.status in (-25, 128 + 25):  # SIGXFSZ
            why = f"a file of it is larger than {bounded.FILE >> 30} GiB"
        return Unavailable(f"{self.address} can't be fetched: {why}", hint=self._hint(ended.said))

    def _hint(self, said: str) -> str:
        if self.address.scheme == "ssh" and ("Permission denied" in said or "publickey" in said):
            return "`--ssh default` lends the build your ssh agent"
        if "terminal prompts disabled" in said or "Authentication failed" in said or "could not read" in said:
            return "for a private repository: --secret id=GIT_AUTH_TOKEN,src=FILE"
        if "update url base" in said or "returned error: 30" in said:
            return "it has moved: name the new address; credentials are not sent along"
        return ""


def _protocols(scheme: str) -> str:
    """Those that git may use: never a step down from an encrypted one, never a file or a helper."""
    return {"https": "https", "ssh": "ssh", "http": "http:https", "git": "git"}[scheme]


def _quoted(text: str) -> str:
    """For a configuration file's "..." (git-config, Syntax)."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def deadline() -> float:
    """The time.monotonic() until which one address may take."""
    return time.monotonic() + bounded.SECONDS
