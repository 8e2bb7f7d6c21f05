"""Templates of HCL: texts with ${...} in them, as here documents and the texts of JSON have them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
HEX = {"u": 4, "U": 8}


def unescaped(text: str, where: str) -> str:
    r"""The characters of a quoted text: \n, \t, \", \\, \uXXXX and so on, and $${ for ${."""
    result, at = [], 0
    while at < len(text):
        here = text[at]
        if here == "\\" and at + 1 < len(text):
            letter = text[at + 1]
            at += 2
            if letter in ESCAPES:
                result.append(ESCAPES[letter])
            elif letter in HEX:
                digits = text[at : at + HEX[letter]]
                try:
                    result.append(chr(int(digits, 16)))
                except (ValueError, OverflowError):
                    raise InvalidInput(f"{where}: invalid escape \\{letter}{digits}") from None
                at += HEX[letter]
            else:
                raise InvalidInput(f"{where}: invalid escape \\{letter}")
        elif text.startswith(("$${", "%%{"), at):
            result.append(text[at + 1 : at + 3])
            at += 3
        else:
            result.append(here)
            at += 1
    return "".join(result)


def parts(text: str, where: str) -> Iterator[tuple[bool, str, int]]:
    """(whether it is an expression, its text, newlines before it), in order."""
    at = begin = 0
    plain: list[str] = []
    while at < len(text):
        if text.startswith(("$${", "%%{"), at):
            plain.append(text[begin:at] + text[at + 1 : at + 3])
            at = begin = at + 3
        elif text.startswith("%{", at):
            raise Unsupported(f"{where}: %{{...}} in a template is not supported", hint="${a ? b : c} is")
        elif text.startswith("${", at):
            plain.append(text[begin:at])
            if "".join(plain):
                yield False, "".join(plain), 0
            plain = []
            end = _end(text, at + 2, where)
            yield True, text[at + 2 : end], text.count("\n", 0, at)
            at = begin = end + 1
        else:
            at += 1
    plain.append(text[begin:])
    if "".join(plain):
        yield False, "".join(plain), 0


def _end(text: str, at: int, where: str) -> int:
    """Where the brace is that ends the expression which begins at `at`."""
    depth, quoted = 0, False
    while at < len(text):
        here = text[at]
        if quoted:
            if here == "\\":
                at += 1
            elif here == '"':
                quoted = False
            elif text.startswith("${", at):
                at = _end(text, at + 2, where)
        elif here == '"':
            quoted = True
        elif here == "{":
            depth += 1
        elif here == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    raise InvalidInput(f"{where}: a ${{ has no end")


def heredoc(token: str, *, trim: bool) -> str:
    """The text of a here document, as the parser has it with its marks."""
    lines = token.replace("\r\n", "\n").rstrip("\n").split("\n")[1:-1]
    if trim:
        widths = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
        least = min(widths, default=0)
        lines = [line[least:] for line in lines]
    return "".join(line + "\n" for line in lines)


def tokens(node: Any) -> list[str]:
    """The words among a node's children."""
    return [str(child) for child in node.children if not hasattr(child, "data")]
