"""A bake file in HCL, or in HCL's JSON form, as blocks and expressions that are not evaluated yet.

The grammar is python-hcl2's; what expressions mean is in expressions.py. Not for the cold path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from estiva.errors import InvalidInput, Unsupported, brief, oneline

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100  # brackets within each other
LABELLED = {"variable": 1, "group": 1, "target": 1, "function": 1}
BODIES = ("validation",)  # blocks within those


class Expression:
    """One that can be evaluated: a node of the parser, or a value of JSON whose texts are templates."""

    def __init__(self, file: str, line: int, node: Any, *, json: bool = False) -> None:
        self.file = file
        self.line = line
        self.node = node
        self.json = json


class Body:
    """The attributes and blocks between two braces."""

    def __init__(self) -> None:
        self.attributes: dict[str, Expression] = {}
        self.blocks: list[Block] = []


class Block:
    """One block; `name` is its label."""

    def __init__(self, kind: str, name: str, body: Body, file: str, line: int) -> None:
        self.kind = kind
        self.name = name
        self.body = body
        self.file = file
        self.line = line

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}: {self.kind} {oneline(self.name)}"


def parse(text: str, file: str) -> Body:
    """A file in HCL's native form. Raises InvalidInput, Unsupported without the library."""
    return _body(_tree(text, file, 1).children[0], file)


def expression(text: str, file: str, line: int) -> Any:
    """The node of one expression, which begins in that line. Raises InvalidInput."""
    body = _tree(f"x = (\n{text}\n)", file, line - 1).children[0]
    return next(_named(body, "attribute")).children[-1]


def _tree(text: str, file: str, line: int) -> Any:
    try:
        import hcl2
        from lark.exceptions import LarkError
    except ImportError:
        raise Unsupported(
            f"{file}: HCL needs the package python-hcl2, which is not here",
            hint="pip install 'estiva[bake]'",
        ) from None
    _check_depth(text, file)
    try:
        return hcl2.parses_to_tree(text)
    except LarkError as error:
        at = getattr(error, "line", None)
        token = getattr(error, "token", None)
        lines = text.count("\n") + 1
        at = at if isinstance(at, int) and at > 0 else lines
        word = (str(token or "").strip().splitlines() or [""])[0]
        what = f"unexpected {oneline(word)[:60]!r}" if word else ""
        what = what or "something is missing at the end of the line"
        raise InvalidInput(f"{file}:{line + at - 1}: this is not valid HCL: {what}") from None


def _check_depth(text: str, file: str) -> None:
    """Before anything recurses: brackets in texts and comments count as well, which is harmless."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise InvalidInput(f"{file}: brackets are nested more than {MAX_DEPTH} deep")


def _named(node: Any, name: str) -> Iterator[Any]:
    for child in node.children:
        if getattr(child, "data", None) == name:
            yield child


def word(node: Any) -> str:
    """The text of an identifier, or of a label in quotes."""
    if node.data == "string":
        return "".join(str(part.children[0]) for part in _named(node, "string_part"))
    return str(node.children[0])


def _body(node: Any, file: str) -> Body:
    result = Body()
    for child in _named(node, "attribute"):
        name, line = word(child.children[0]), child.meta.line
        if name in result.attributes:
            raise InvalidInput(f"{file}:{line}: the attribute {oneline(name)} is set twice")
        result.attributes[name] = Expression(file, line, child.children[-1])
    for child in _named(node, "block"):
        words = [
            word(each)
            for each in child.children
            if getattr(each, "data", "") in ("identifier", "keyword", "literal_value", "string")
        ]
        kind, line = words[0], child.meta.line
        if len(words) - 1 != LABELLED.get(kind, len(words) - 1):
            raise InvalidInput(f"{file}:{line}: a {oneline(kind)} block has one name")
        body = _body(next(_named(child, "body")), file)
        result.blocks.append(Block(kind, words[1] if len(words) > 1 else "", body, file, line))
    return result


def parse_json(text: str, file: str) -> Body:
    """A file in HCL's JSON form. Raises InvalidInput."""
    _check_depth(text, file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise InvalidInput(
            f"{file}:{line}: this is not valid JSON: {brief(str(getattr(error, 'msg', error)))}"
        ) from None
    return _json_body(value, file, text, top=True)


def _json_body(value: Any, file: str, text: str, *, top: bool, at: str = "") -> Body:
    result = Body()
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise InvalidInput(f"{file}: {at or 'the file'} is not an object")
        for key, inner in each.items():
            if top and key in LABELLED:
                result.blocks.extend(_json_blocks(key, inner, file, text))
            elif not top and key in BODIES:
                body = _json_body(inner, file, text, top=False, at=key)
                result.blocks.append(Block(key, "", body, file, _line(text, key)))
            else:
                result.attributes[key] = Expression(file, _line(text, key), inner, json=True)
    return result


def _json_blocks(kind: str, value: Any, file: str, text: str) -> Iterator[Block]:
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise InvalidInput(f"{file}:{_line(text, kind)}: {kind} is not an object of blocks")
        for name, inner in each.items():
            for one in inner if isinstance(inner, list) else [inner]:
                body = _json_body(one, file, text, top=False, at=f"{kind} {oneline(name)}")
                yield Block(kind, name, body, file, _line(text, name))


def _line(text: str, name: str) -> int:
    """The line where a name stands first; the JSON parser tells none."""
    at = text.find(json.dumps(name))
    return text.count("\n", 0, max(at, 0)) + 1
