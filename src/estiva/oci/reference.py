"""Names of images, by the grammar of distribution/reference and Docker's defaults.

    reference  := name [":" tag] ["@" digest]
    name       := [domain "/"] component *["/" component]
    domain     := (host-label *["." host-label] | "[" ipv6 "]") [":" port]
    host-label := letters, digits and inner hyphens
    component  := lower-case letters and digits, joined by "." or "_" or "__" or any number of "-"
    tag        := word character, then at most 127 of word characters, "." and "-"

What stands before the first slash is a domain only if it holds a "." or a ":" or is "localhost"; without a
domain the registry is docker.io, and a one-component repository there is under library/. Parsed by hand: `re`
would cost more than all the rest of a lookup.
"""

from __future__ import annotations

from estiva.errors import InvalidInput
from estiva.oci import digest as digests

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
TAG_LIMIT = 128
TEXT_LIMIT = 1024

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ALNUM = _LOWER | _UPPER
_WORD = _ALNUM | {"_"}
_TAG = _WORD | {".", "-"}
_DIGITS = frozenset("0123456789")
_IPV6 = frozenset("0123456789abcdefABCDEF:.")


class Reference:
    """One parsed name. Immutable by convention; `tag` and `digest` are "" where there is none."""

    __slots__ = ("registry", "repository", "tag", "digest")

    def __init__(self, registry: str, repository: str, tag: str = "", digest: str = "") -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse what a user or a file says; without tag and digest the tag is "latest".

        Raises InvalidInput.
        """
        reference = cls.parse_name(text)
        if not reference.tag and not reference.digest:
            reference.tag = DEFAULT_TAG
        return reference

    @classmethod
    def parse_name(cls, text: str) -> Reference:
        """As `parse`, but a missing tag stays missing."""
        if not text:
            raise InvalidInput("an image name is empty")
        if len(text) > TEXT_LIMIT:
            raise InvalidInput(
                f"invalid reference {text[:64]!r}...: it is longer than {TEXT_LIMIT} characters"
            )
        if len(text) == 64 and digests.is_hex(text):
            raise _invalid(text, "64 hex digits are an image id, not a repository name")
        rest, at, digest = text.partition("@")
        if at:
            try:
                digests.parse(digest)
            except InvalidInput as error:
                raise _invalid(text, str(error)) from None
        registry, rest = _split_domain(text, rest)
        repository, colon, tag = rest.partition(":")
        if colon:
            _check_tag(text, tag)
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            if not repository:
                raise _invalid(text, "the repository name is missing")
            repository = "library/" + repository
        _check_repository(text, repository)
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """The canonical name without tag and digest: docker.io/library/alpine."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The shortest name that parses to the same repository: alpine."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        repository = self.repository
        if repository.startswith("library/") and repository.count("/") == 1:
            repository = repository[8:]
            return self.name if len(repository) == 64 and digests.is_hex(repository) else repository
        return self.name if _is_domain(repository.partition("/")[0]) else repository

    @property
    def familiar(self) -> str:
        """The reference as lists show it, with its tag and digest: alpine:latest."""
        return self.familiar_name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """The same repository under a tag (and no digest). Raises InvalidInput."""
        _check_tag(f"{self.name}:{tag}", tag)
        return Reference(self.registry, self.repository, tag)

    def with_digest(self, digest: str) -> Reference:
        """The same repository under a digest (and no tag). Raises InvalidInput."""
        digests.parse(digest)
        return Reference(self.registry, self.repository, "", digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._suffix()}"

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def familiar(name: str) -> str:
    """The familiar form of a canonical reference's text, as the database keeps it."""
    return Reference.parse_name(name).familiar


def _invalid(text: str, why: str, hint: str = "") -> InvalidInput:
    from estiva.errors import oneline

    return InvalidInput(f'invalid reference "{oneline(text)}": {why}', hint=hint)


def _is_domain(part: str) -> bool:
    return part == "localhost" or "." in part or ":" in part


def _split_domain(text: str, rest: str) -> tuple[str, str]:
    """(registry, what follows it) of a reference without its digest."""
    first, slash, after = rest.partition("/")
    if not slash or not _is_domain(first):
        return DEFAULT_REGISTRY, rest
    if "://" in rest:
        raise _invalid(text, "it has a url scheme", hint="leave out what stands before the registry's host")
    _check_domain(text, first)
    return (DEFAULT_REGISTRY if first == "index.docker.io" else first), after


def _check_domain(text: str, domain: str) -> None:
    if domain.startswith("["):
        host, closed, port = domain[1:].partition("]")
        if not closed or not host or not _IPV6.issuperset(host) or host.count(":") < 2:
            raise _invalid(text, f"{domain!r} is not a registry's address")
        if port and (port[0] != ":" or not _is_port(port[1:])):
            raise _invalid(text, f"{port!r} is not a port")
        return
    host, colon, port = domain.partition(":")
    if colon and not _is_port(port):
        raise _invalid(text, f"{port!r} is not a port")
    for label in host.split("."):
        if not label or label[0] == "-" or label[-1] == "-" or not _ALNUM.issuperset(label.replace("-", "")):
            raise _invalid(text, f"{domain!r} is not a registry's host name")


def _is_port(port: str) -> bool:
    return 0 < len(port) <= 5 and _DIGITS.issuperset(port) and int(port) <= 65535


def _check_repository(text: str, repository: str) -> None:
    if len(repository) > NAME_LIMIT:
        raise _invalid(text, f"the repository name is longer than {NAME_LIMIT} characters")
    for component in repository.split("/"):
        if not _is_component(component):
            if not component:
                raise _invalid(text, "a part of the repository name is empty")
            if not _UPPER.isdisjoint(component):
                raise _invalid(text, "repository name must be lowercase")
            raise _invalid(
                text, f"repository name part {component!r} has a character or separator out of place"
            )


def _is_component(component: str) -> bool:
    """Runs of a-z0-9 joined by one separator: "." or "_" or "__" or a run of "-"."""
    if not component or component[0] not in _LOWER or component[-1] not in _LOWER:
        return False
    if _LOWER.issuperset(component):
        return True
    separator = ""
    for character in component:
        if character in _LOWER:
            if separator not in ("", ".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        else:
            separator += character
    return True


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        raise _invalid(text, "the tag after the colon is empty")
    if len(tag) > TAG_LIMIT:
        raise _invalid(text, f"the tag is longer than {TAG_LIMIT} characters")
    if tag[0] not in _WORD or not _TAG.issuperset(tag):
        raise _invalid(text, f"{tag!r} is not a tag")
