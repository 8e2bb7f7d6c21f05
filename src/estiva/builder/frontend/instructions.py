"""The typed form of each instruction: arguments split and flags understood, variables not yet expanded.

`interpret` turns a parsed Instruction into one of the classes below and raises DockerfileError for what is
wrong in it.
"""

from __future__ import annotations

from estiva.builder.frontend import run_devices, values
from estiva.builder.frontend.errors import bad
from estiva.builder.frontend.near import near
from estiva.builder.frontend.parser import heredoc_of, json_list
from estiva.builder.struct import struct
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.run_devices import Device
    from estiva.builder.frontend.syntax import Heredoc, Instruction


@struct
class Typed:
    source: Instruction

    @property
    def name(self) -> str:
        return self.source.name


@struct
class From(Typed):
    image: str
    alias: str
    platform: str


@struct
class Command(Typed):
    """RUN, CMD and ENTRYPOINT: exec form in `argv`, or shell form in `shell`."""

    argv: list[str] | None
    shell: str
    mounts: list[str] = []
    network: str = ""
    security: str = ""
    devices: list[Device] = []


@struct
class Pairs(Typed):
    """ENV and LABEL; ARG with None for a name without a default."""

    pairs: list[tuple[str, str | None]]


@struct
class Text(Typed):
    """MAINTAINER, USER, WORKDIR, STOPSIGNAL, ONBUILD: one argument."""

    text: str


@struct
class Words(Typed):
    """EXPOSE, VOLUME, SHELL."""

    words: list[str]


@struct
class Copy(Typed):
    """COPY and ADD."""

    sources: list[str]
    destination: str
    heredocs: list[Heredoc]
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: list[str] = []
    checksum: str = ""
    unpack: bool | None = None
    keep_git_dir: bool | None = None


@struct
class Healthcheck(Typed):
    """`config` is the image config's Healthcheck: Test and times in nanoseconds."""

    config: dict[str, object]


LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
ALIAS = LETTERS | frozenset("0123456789_.-")
_FLAGS: dict[str, dict[str, str]] = {
    "FROM": {"platform": "text"},
    "RUN": {"mount": "list", "network": "text", "security": "text", "device": "list"},
    "COPY": {
        "from": "text",
        "chown": "text",
        "chmod": "text",
        "link": "bool",
        "parents": "bool",
        "exclude": "list",
    },
    "ADD": {
        "chown": "text",
        "chmod": "text",
        "link": "bool",
        "exclude": "list",
        "checksum": "text",
        "unpack": "bool",
        "keep-git-dir": "bool",
    },
    "HEALTHCHECK": {
        "interval": "text",
        "timeout": "text",
        "start-period": "text",
        "start-interval": "text",
        "retries": "text",
    },
}


class _Flags:
    """The flags of one instruction, checked against what it takes."""

    def __init__(self, source: Instruction) -> None:
        known = _FLAGS.get(source.name, {})
        self.values: dict[str, list[str]] = {}
        for flag in source.flags:
            name, equals, value = flag[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise bad(source, f"unknown flag: --{name}", _similar(name, list(known), source.name))
            if kind == "bool":
                value = value.lower() if equals else "true"
                if value not in ("true", "false"):
                    raise bad(source, f"--{name} must be true or false, not {value!r}")
            elif not equals:
                raise bad(source, f"missing a value on flag: --{name}")
            if kind != "list" and name in self.values:
                raise bad(source, f"duplicate flag: --{name}")
            self.values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        return self.values.get(name, [""])[0]

    def bool(self, name: str) -> bool:
        return self.text(name) == "true"

    def list(self, name: str) -> list[str]:
        return self.values.get(name, [])


def _similar(name: str, known: list[str], instruction: str) -> str:
    if not known:
        return f"{instruction} takes no flags"
    if close := near(name, known):
        return f"did you mean --{close}?"
    return f"{instruction} takes " + ", ".join("--" + flag for flag in known)


def interpret(source: Instruction) -> Typed:
    """The typed form of an instruction. Raises DockerfileError."""
    flags = _Flags(source)
    try:
        return _READERS[source.name](source, flags)
    except InvalidInput as error:
        if error.message.startswith(f"{source.file}:"):
            raise
        raise bad(source, error.message, error.hint) from None


def _from(source: Instruction, flags: _Flags) -> Typed:
    words = source.args.split()
    if len(words) == 3 and words[1].upper() == "AS":
        alias = words[2].lower()
        if alias[0] not in LETTERS or not ALIAS.issuperset(alias):
            raise bad(
                source, f"invalid name for a build stage: {words[2]!r}", "a stage's name starts with a letter"
            )
    elif len(words) == 1:
        alias = ""
    else:
        raise bad(source, "FROM requires either one or three arguments", "FROM IMAGE, or FROM IMAGE AS STAGE")
    return From(source, words[0], alias, flags.text("platform"))


def _command(source: Instruction, flags: _Flags) -> Typed:
    argv = json_list(source.args)
    shell = source.args if argv is None else ""
    if source.name == "RUN" and not (argv or shell):
        raise bad(source, "RUN requires a command")
    devices = [run_devices.parse(text) for text in flags.list("device")]
    network, security = flags.text("network"), flags.text("security")
    result = Command(source, argv, shell, flags.list("mount"), network, security, devices)
    if result.network not in ("", "default", "none", "host"):
        raise bad(source, f"unsupported network mode {result.network!r}", "it is one of default, none, host")
    if result.security not in ("", "sandbox", "insecure"):
        raise bad(source, f"unsupported security mode {result.security!r}", "it is sandbox or insecure")
    return result


def _pairs(source: Instruction, flags: _Flags) -> Typed:
    words = quoted_words(source.args, source.escape)
    if not words:
        raise bad(source, f"{source.name} requires at least one argument")
    pairs: list[tuple[str, str | None]] = []
    if source.name != "ARG" and "=" not in words[0]:
        parts = source.args.split(None, 1)
        if len(parts) < 2:
            raise bad(source, f"{source.name} must have two arguments", f"{source.name} NAME=VALUE")
        return Pairs(source, [(parts[0], parts[1])])
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise bad(source, f"{source.name} names can't be blank")
        if not equals and source.name != "ARG":
            raise bad(source, f"can't find = in {word!r}", "it must be of the form name=value")
        pairs.append((name, value if equals else None))
    return Pairs(source, pairs)


def _text(source: Instruction, flags: _Flags) -> Typed:
    if not source.args:
        raise bad(source, f"{source.name} requires exactly one argument")
    return Text(source, source.args)


def _onbuild(source: Instruction, flags: _Flags) -> Typed:
    if not source.args:
        raise bad(source, "ONBUILD requires at least one argument")
    trigger = source.args.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise bad(source, "ONBUILD can't be chained: ONBUILD ONBUILD isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise bad(source, f"{trigger} isn't allowed as an ONBUILD trigger")
    text = source.args
    for heredoc in source.heredocs:
        text += f"\n{heredoc.content}{heredoc.name}"
    return Text(source, text)


def _words(source: Instruction, flags: _Flags) -> Typed:
    words = json_list(source.args) if source.name != "EXPOSE" else None
    if source.name == "SHELL" and words is None:
        raise bad(
            source, "SHELL requires the arguments to be in JSON form", 'such as SHELL ["/bin/sh", "-c"]'
        )
    if words is None:
        words = source.args.split()
    if not words:
        raise bad(source, f"{source.name} requires at least one argument")
    if source.name == "VOLUME" and not all(word.strip() for word in words):
        raise bad(source, "a VOLUME can't be an empty string")
    return Words(source, words)


def _copy(source: Instruction, flags: _Flags) -> Typed:
    words = json_list(source.args)
    if words is None:
        words = _join_heredocs(source.args.split())
    if len(words) < 2:
        raise bad(
            source,
            f"{source.name} requires at least two arguments",
            f"{source.name} SOURCE... DESTINATION",
        )
    if heredoc_of(words[-1]):
        raise bad(source, f"{source.name} can't have a here-document as its destination")
    documents = {heredoc.name: heredoc for heredoc in source.heredocs}
    sources, heredocs = [], []
    for word in words[:-1]:
        announced = heredoc_of(word) if documents else None
        if announced is not None and announced.name in documents:
            heredocs.append(documents[announced.name])
        else:
            sources.append(word)
    return Copy(
        source,
        sources,
        words[-1],
        heredocs,
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.bool("link"),
        parents=flags.bool("parents"),
        exclude=flags.list("exclude"),
        checksum=flags.text("checksum"),
        unpack=flags.bool("unpack") if flags.list("unpack") else None,
        keep_git_dir=flags.bool("keep-git-dir") if flags.list("keep-git-dir") else None,
    )


def _join_heredocs(words: list[str]) -> list[str]:
    """Put `<<` and the word after it together again where blanks stood between them."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].endswith(("<<", "<<-")) and _opens(joined[-1]):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _opens(word: str) -> bool:
    """Whether a word begins a here-document, and has not its name: `<<`, `3<<-`."""
    number = word.removesuffix("-").removesuffix("<<")
    return not number or number.isdecimal()


def _healthcheck(source: Instruction, flags: _Flags) -> Typed:
    kind, _, rest = source.args.partition(" ")
    kind, rest = kind.upper(), rest.strip()
    if kind == "NONE":
        if rest:
            raise bad(source, "HEALTHCHECK NONE takes no arguments")
        return Healthcheck(source, {"Test": ["NONE"]})
    if kind != "CMD":
        raise bad(
            source, f"unknown type {kind!r} in HEALTHCHECK", "HEALTHCHECK CMD command, or HEALTHCHECK NONE"
        )
    argv = json_list(rest)
    if not (argv or rest) or argv == []:
        raise bad(source, "HEALTHCHECK CMD needs a command")
    config: dict[str, object] = {"Test": ["CMD-SHELL", rest] if argv is None else ["CMD", *argv]}
    for flag, key in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ):
        value = flags.text(flag)
        nanoseconds = values.duration(value) if value else 0
        if nanoseconds < 0 or 0 < nanoseconds < 1_000_000:
            raise bad(source, f"--{flag} can't be less than 1ms: {value}")
        if nanoseconds:
            config[key] = nanoseconds
    retries = flags.text("retries")
    if retries:
        count = values.whole(retries, 2**31 - 1)
        if count is None:
            raise bad(source, f"--retries must be a number of 0 or more, not {retries!r}")
        if count:
            config["Retries"] = count
    return Healthcheck(source, config)


def quoted_words(text: str, escape: str) -> list[str]:
    """Words split at unquoted blanks, with quotes and escapes left in for the expansion to come."""
    words: list[str] = []
    word, quote, blank = "", "", False
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if not quote and char.isspace():
            if word or blank:
                words.append(word)
            word, blank = "", False
            continue
        if quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, blank = char, True
        elif char == escape and quote != "'":
            if position == len(text):
                continue
            char += text[position]
            position += 1
        word += char
    return [*words, word] if word or blank else words


_READERS = {
    "FROM": _from,
    "RUN": _command,
    "CMD": _command,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "LABEL": _pairs,
    "ARG": _pairs,
    "MAINTAINER": _text,
    "USER": _text,
    "WORKDIR": _text,
    "STOPSIGNAL": _text,
    "ONBUILD": _onbuild,
    "EXPOSE": _words,
    "VOLUME": _words,
    "SHELL": _words,
    "COPY": _copy,
    "ADD": _copy,
    "HEALTHCHECK": _healthcheck,
}
