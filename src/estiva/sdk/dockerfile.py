"""A Dockerfile as a program gives it: a path, the text, an open file, or its instructions as a list.

estiva.build(None, dockerfile=[
    "FROM debian:13",
    ("RUN", "apt-get update && apt-get install -y gcc"),
    ("ENV", {"GREETING": 'a "quoted" $word'}),
    ("COPY --chown=1000", ["a file", "/srv/"]),
    ("CMD", ["python3", "/srv/app.py"]),
])
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import IO, Any, TypeAlias

from estiva.errors import InvalidInput, brief
from estiva.sdk import values

Instruction: TypeAlias = str | tuple[str, str | Sequence[str] | Mapping[str, str | int | float]]
Dockerfile: TypeAlias = str | os.PathLike[str] | IO[str] | IO[bytes] | Sequence[Instruction]

LIMIT = 4 << 20  # bytes of an open file that are read; the builder takes no more
DOCUMENTS = ("ADD", "COPY", "RUN")  # which take here-documents
DOCUMENTS = ("ADD", "COPY", "RUN")  # which take here-documents
_NAME = re.compile(r"[A-Za-z]+(?: +--\S+)*")
_FIRST = re.compile(r"(?:FROM|ARG)[ \t]", re.IGNORECASE)  # a text of one line begins so
_KEY = re.compile(r"[^\s=\"'\\$]+")


def read(given: Any) -> tuple[str | None, str | None]:
    """(path, text) of which one is None, or both. A str is the text if it has several lines or begins with
    FROM. Raises InvalidInput."""
    if given is None:
        return None, None
    if isinstance(given, str) and ("\n" in given or _FIRST.match(given)):
        return None, given
    if hasattr(given, "read"):
        data = given.read(LIMIT + 1)
        try:
            text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        except UnicodeDecodeError:
            raise InvalidInput("dockerfile is not UTF-8 text") from None
        if not isinstance(text, str) or len(data) > LIMIT:
            raise InvalidInput(f"dockerfile has no text of {LIMIT >> 20} MiB at most")
        return None, text
    if isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray):
        return None, "".join(f"{_line(each)}\n" for each in given)
    if not isinstance(given, str | os.PathLike):
        raise values.wrong("dockerfile", "a path, text, an open file or a list of instructions", given)
    return values.path("dockerfile", given), None


def _line(each: Any) -> str:
    """One instruction as text. A pair's argument is text, words (the exec form), or names with values."""
    if isinstance(each, str):
        return each
    if not isinstance(each, Sequence) or len(each) != 2 or not isinstance(each[0], str):
        raise values.wrong("dockerfile", "instructions, each a text or a pair of its name and argument", each)
    name, argument = each
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"invalid instruction {brief(name, 60)!r}", hint="its name, then its flags")
    if isinstance(argument, str):
        documents = name.split()[0].upper() in DOCUMENTS and "<<" in argument
        if ("\n" in argument and not documents) or argument.endswith("\\"):
            hint = "give each instruction by itself"
            raise InvalidInput(
                f"the argument of {name} has several lines, or goes on after its end", hint=hint
            )
        return f"{name} {argument}"
    if isinstance(argument, Mapping):
        return f"{name} " + " ".join(_pair(name, key, value) for key, value in argument.items())
    if isinstance(argument, Sequence) and all(isinstance(word, str) for word in argument):
        return f"{name} {json.dumps(list(argument), ensure_ascii=False)}"
    raise values.wrong("dockerfile", f"text, words or a dict for {name}", argument)


def _pair(name: str, key: Any, value: Any) -> str:
    """NAME="value", taken as it is: nothing in it is a variable."""
    text = str(value)
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput(f"{brief(str(key), 60)!r} can't be a name in {name}")
    if "\n" in text or "\r" in text:
        hint = "there is no way to write that in a Dockerfile"
        raise InvalidInput(f"the value of {key} in {name} has several lines", hint=hint)
    return f'{key}="' + re.sub(r'[\\"$]', r"\\\g<0>", text) + '"'
