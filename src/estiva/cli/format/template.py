"""Go's text/template, as far as --format uses it, over dicts and lists.

    {{.A.B}}  {{json .}}  {{index .A "k" 0}}  {{len .A}}  {{.A | upper}}  {{$x := .A}}  {{(index .A 0).B}}
    {{if .A}}..{{else if .B}}..{{else}}..{{end}}   {{range $i, $v := .A}}..{{else}}..{{end}}
    {{with .A}}..{{end}}   {{- trimmed -}}   {{/* comment */}}   {{.Label "k"}} of a Struct

A field that a thing does not have is an error that names it; a key that a map (labels, ports, ...) does not
have is "<no value>", as in Go. Values print as Go prints them: [a b], map[k:v], true, and null by what Docker
declares there: [], map[], <nil>, else <no value>.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from estiva.cli.format.struct import IN_GO, Map, Nil, Struct, typed
from estiva.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<field>(?:\.[A-Za-z_]\w*)+|\.)|(?P<variable>\$\w*(?:\.[A-Za-z_]\w*)*)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<mark>:=|=|\||\(|\)|,))"""
)
CLOSING = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|/\*.*?\*/|}}', re.S)
CONSTANTS: dict[str, Any] = {"true": True, "false": False, "nil": None}
KEYWORDS = ("if", "range", "with", "else", "end", "define", "template", "block", "break", "continue")
STEPS = 1_000_000  # bounds what a template can be made to print (K13)
DEPTH = 100  # of actions and of parentheses within each other
DIGITS = 18  # of a number

Node = tuple[Any, ...]


def error(why: str) -> InvalidInput:
    """A template that makes no sense."""
    return InvalidInput(
        f"template parsing error: {why}", hint="--format takes a Go template such as '{{.ID}}'"
    )


class Template:
    """A parsed template. Raises InvalidInput when it makes no sense."""

    def __init__(self, text: str) -> None:
        self.nodes, rest = _Parser(_split(text)).block(())
        if rest:
            raise error(f"unexpected {{{{{rest}}}}}")

    def render(self, value: Any) -> str:
        """The text for one value. Raises InvalidInput for a field that is not there."""
        run = _Run(value)
        run.block(self.nodes, value)
        return "".join(run.out)

    def heading(self, names: dict[str, str]) -> str:
        """The head of a table: each field's name in the place of its value."""
        run = _Run(names, heading=True)
        run.block(self.nodes, names)
        return "".join(run.out)


def _split(text: str) -> list[tuple[bool, str]]:
    """(is an action, text) parts; trim markers applied, comments left out."""
    parts: list[tuple[bool, str]] = []
    trim = False
    while text:
        before, opened, rest = text.partition("{{")
        if trim:
            before = before.lstrip()
        if opened and rest[:2].strip() == "-" and rest[1:2].isspace():
            before, rest = before.rstrip(), rest[1:]
        if before:
            parts.append((False, before))
        if not opened:
            break
        end = next((match for match in CLOSING.finditer(rest) if match.group() == "}}"), None)
        if end is None:
            raise error("unclosed action")
        action, text = rest[: end.start()], rest[end.end() :]
        trim = action.endswith("-") and action[-2:-1].isspace()
        action = action[:-1] if trim else action
        if not (action.strip().startswith("/*") and action.strip().endswith("*/")):
            parts.append((True, action))
    return parts


class _Parser:
    def __init__(self, parts: list[tuple[bool, str]]) -> None:
        self.parts = parts
        self.position = 0
        self.depth = 0

    def block(self, ends: tuple[str, ...]) -> tuple[list[Node], str]:
        """Nodes up to an action that begins with one of `ends`; that action's text."""
        nodes: list[Node] = []
        while self.position < len(self.parts):
            is_action, text = self.parts[self.position]
            self.position += 1
            if not is_action:
                nodes.append(("text", text))
                continue
            words = text.split(None, 1)
            if not words:
                raise error("missing value for command")
            word = words[0]
            if word in ends or word in ("else", "end"):
                return nodes, text.strip()
            if word in ("if", "with", "range"):
                nodes.append(self.control(word, words[1] if len(words) > 1 else ""))
            elif word in KEYWORDS:
                raise error(f"{word} is not supported")
            else:
                nodes.append(("print", _Expression(text).pipeline()))
        if ends:
            raise error("unexpected end: {{end}} is missing")
        return nodes, ""

    def control(self, word: str, text: str) -> Node:
        pipeline = _Expression(text).pipeline()
        self.depth += 1
        if self.depth > DEPTH:
            raise error("it is nested too deeply")
        body, closing = self.block(("else", "end"))
        other: list[Node] = []
        if closing.startswith("else"):
            rest = closing[4:].strip()
            if rest:
                inner, _, condition = rest.partition(" ")
                if inner not in ("if", "with"):
                    raise error(f"unexpected {{{{{closing}}}}}")
                other = [self.control(inner, condition)]
            else:
                other, closing = self.block(("end",))
                if closing != "end":
                    raise error(f"unexpected {{{{{closing}}}}}")
        elif closing != "end":
            raise error(f"unexpected {{{{{closing}}}}}")
        self.depth -= 1
        return (word, pipeline, body, other)


class _Expression:
    """One action: `[$i[, $v] :=|=] command | command ...`, a command being a list of operands."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.starts: list[bool] = []  # of each token, whether a space is before it
        position = 0
        while text[position:].strip():
            match = TOKEN.match(text, position)
            if match is None:
                raise error(f"unexpected {text[position:].strip()[:1]!r} in {{{{{text}}}}}")
            self.tokens.append((str(match.lastgroup), match.group().strip()))
            self.starts.append(match.group()[0].isspace())
            position = match.end()
        self.position = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("", "")

    def pipeline(self) -> Node:
        names: list[str] = []
        marks = [text for kind, text in self.tokens if kind == "mark"]
        declare = ""
        if ":=" in marks or "=" in marks:
            while self.peek()[0] == "variable":
                names.append(self.peek()[1])
                self.position += 1
                if self.peek()[1] == ",":
                    self.position += 1
            declare = self.peek()[1]
            if declare not in (":=", "=") or not 1 <= len(names) <= 2:
                raise error("bad variable declaration")
            self.position += 1
        commands = self.commands()
        if self.position < len(self.tokens):
            raise error(f"unexpected {self.peek()[1]!r}")
        return (names, commands)

    def commands(self) -> list[list[Node]]:
        commands: list[list[Node]] = [[]]
        while self.peek()[0] and self.peek()[1] != ")":
            if self.peek() == ("mark", "|"):
                commands.append([])
                self.position += 1
            else:
                commands[-1].append(self.operand())
        if not all(commands):
            raise error("missing value for command")
        return commands

    def operand(self) -> Node:
        kind, text = self.peek()
        self.position += 1
        if kind == "string":
            try:
                return ("value", text[1:-1] if text[0] == "`" else json.loads(text, strict=False))
            except ValueError:
                raise error(f"{text} is not a string") from None
        if kind == "number":
            if len(text) > DIGITS:
                raise error(f"{text} is too long a number")
            return ("value", float(text) if "." in text else int(text))
        if kind == "field":
            return ("field", tuple(text.split(".")[1:]) if text != "." else ())
        if kind == "variable":
            name, *fields = text.split(".")
            return ("variable", name, tuple(fields))
        if kind == "word":
            if text in CONSTANTS:
                return ("value", CONSTANTS[text])
            from estiva.cli.format import functions

            if text not in functions.TABLE:
                raise error(f'function "{text}" not defined')
            return ("function", text)
        if text == "(":
            self.depth += 1
            if self.depth > DEPTH:
                raise error("it is nested too deeply")
            inner = self.commands()
            self.depth -= 1
            if self.peek()[1] != ")":
                raise error("unclosed left paren")
            self.position += 1
            chain: tuple[str, ...] = ()
            if self.peek()[0] == "field" and self.peek()[1] != "." and not self.starts[self.position]:
                chain = tuple(self.peek()[1].split(".")[1:])
                self.position += 1
            return ("nested", inner, chain)
        raise error(f"unexpected {text!r}")


class _Run:
    def __init__(self, root: Any, heading: bool = False) -> None:
        self.out: list[str] = []
        self.variables: dict[str, Any] = {"$": root}
        self.heading = heading
        self.steps = 0

    def block(self, nodes: list[Node], dot: Any) -> None:
        for node in nodes:
            self.step()
            if node[0] == "text":
                self.out.append(node[1])
            elif node[0] == "print":
                value = self.pipeline(node[1], dot)
                if not node[1][0]:
                    from estiva.cli.format.functions import show

                    self.out.append(show(value))
            elif node[0] == "range":
                self.range(node, dot)
            else:
                value = self.pipeline(node[1], dot)
                chosen = node[2] if truth(value) else node[3]
                self.block(chosen, value if node[0] == "with" and truth(value) else dot)

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise error("it does not come to an end")

    def range(self, node: Node, dot: Any) -> None:
        names, commands = node[1]
        value = self.commands(commands, dot)
        pairs: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, dict):
            pairs = sorted(value.items())
        elif isinstance(value, list | tuple):
            pairs = enumerate(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = enumerate(range(value))
        elif value is not None and not isinstance(value, Nil):
            raise error(f"range can't iterate over {value}")
        empty = True
        for key, item in pairs:
            empty = False
            self.step()
            if len(names) == 1:
                self.variables[names[0]] = item
            elif names:
                self.variables[names[0]], self.variables[names[1]] = key, item
            self.block(node[2], item)
        if empty:
            self.block(node[3], dot)

    def pipeline(self, pipeline: Node, dot: Any) -> Any:
        names, commands = pipeline
        value = self.commands(commands, dot)
        if names:
            self.variables[names[0]] = value
        return value

    def commands(self, commands: list[list[Node]], dot: Any) -> Any:
        value: Any = None
        for number, command in enumerate(commands):
            value = self.command(command, dot, [value] if number else [])
        return value

    def command(self, command: list[Node], dot: Any, piped: list[Any]) -> Any:
        head, arguments = command[0], command[1:]
        if head[0] != "function":
            value = self.operand(head, dot)
            if callable(value):
                return self.call(head[-1][-1], value, [self.operand(word, dot) for word in arguments] + piped)
            if arguments or piped:
                raise error("can't give an argument to what is not a function")
            return value
        if head[1] in ("and", "or") and not self.heading:
            return self.either(head[1] == "or", arguments, dot, piped)
        values = [self.operand(argument, dot) for argument in arguments] + piped
        if self.heading and head[1] not in ("print", "printf", "println"):
            strings = [value for value in values if isinstance(value, str)]
            return strings[0] if strings else ""
        from estiva.cli.format.functions import TABLE

        return self.call(head[1], TABLE[head[1]], values)

    def either(self, wanted: bool, arguments: list[Node], dot: Any, piped: list[Any]) -> Any:
        """`or`: the first that is true, `and`: the first that is not, else the last; no further one is looked
        at."""
        value: Any = None
        if not arguments and not piped:
            raise error(f"error calling {'or' if wanted else 'and'}: an argument is missing")
        for argument in arguments:
            value = self.operand(argument, dot)
            if truth(value) is wanted:
                return value
        return piped[0] if piped else value

    def call(self, name: str, function: Callable[..., Any], values: list[Any]) -> Any:
        if any(callable(value) for value in values):
            raise error("a method without its argument")
        try:
            return function(*values)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError, OverflowError) as problem:
            raise error(f"error calling {name}: {problem}") from None

    def operand(self, node: Node, dot: Any) -> Any:
        if node[0] == "value":
            return node[1]
        if node[0] == "field":
            return self.fields(dot, node[1])
        if node[0] == "nested":
            return self.fields(self.commands(node[1], dot), node[2])
        if node[0] == "variable":
            if node[1] not in self.variables:
                raise error(f'undefined variable "{node[1]}"')
            return self.fields(self.variables[node[1]], node[2])
        return self.command([node], dot, [])

    def fields(self, value: Any, names: tuple[str, ...]) -> Any:
        inside = ""
        for name in names:
            if isinstance(value, dict) and name in value:
                value = typed(name, value[name])
            elif isinstance(value, Struct) and name in value.hidden:
                value = typed(name, value.hidden[name])
            elif self.heading:
                return name
            elif isinstance(value, dict) and IN_GO.get(name) in value and not isinstance(value, Map):
                value = value[IN_GO[name]]
            elif value is None or isinstance(value, Map | Nil):
                value = None
            else:
                where = f" in .{inside}" if inside else ""
                raise InvalidInput(
                    f"template: no field .{name}{where}", hint="'{{json .}}' shows what there is"
                )
            inside = name
        return value


def truth(value: Any) -> bool:
    """As Go's `if` sees a value: false, 0, nil and what is empty are false, a struct never."""
    return bool(value) or isinstance(value, Struct)
