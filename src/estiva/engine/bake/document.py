"""All HCL files together: variables and functions, and the groups and targets that come of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from estiva.engine.bake.expressions import Evaluator, Function, Local, Names
from estiva.engine.bake.hcl import Block, Body
from estiva.engine.bake.library import Library
from estiva.engine.bake.merge import Config, Target, coerced
from estiva.engine.bake.values import Budget, number, text_of, truth_of
from estiva.errors import InvalidInput, oneline

MAX_TARGETS = 1000  # of one matrix, and of all
NAME = re.compile(r"[a-zA-Z0-9_-]+")


class Document:
    """The bodies of files, the later over the earlier; `environment` is where variables are looked up."""

    def __init__(self, bodies: list[Body], environment: Mapping[str, str], builtin: dict[str, str]) -> None:
        self.environment = environment
        self.builtin: dict[str, Any] = dict(builtin)
        self.attributes = {name: each for body in bodies for name, each in body.attributes.items()}
        blocks = [block for body in bodies for block in body.blocks]
        self.variables = {block.name: block for block in blocks if block.kind == "variable"}
        self.user = {block.name: block for block in blocks if block.kind == "function"}
        self.blocks = blocks
        self.found: dict[str, Any] = {}
        self.busy: set[str] = set()
        self.budget = Budget()
        self.library = Library(self.budget)
        self.evaluator = Evaluator(self.function, self.budget)
        self.targets: dict[str, list[tuple[Block, Names]]] = {}

    # -- names

    def __getitem__(self, name: str, /) -> Any:
        """The value of a variable, or of an attribute beside the blocks. Raises KeyError, InvalidInput."""
        if name in self.found:
            return self.found[name]
        if name == "target":
            return _Blocks(self)
        expression, where, variable = self.attributes.get(name), "", False
        if expression is None:
            if name in self.builtin and name not in self.variables:
                return self.builtin[name]
            block = self.variables[name]
            expression, where, variable = block.body.attributes.get("default"), block.place, True
        else:
            where = f"{expression.file}:{expression.line}"
        if name in self.busy:
            raise InvalidInput(f"{where}: variable cycle not allowed for {name}")
        self.busy.add(name)
        try:
            value = None
            if expression is not None:
                value = self.evaluator.value(expression, self)
            if variable and name in self.environment:
                value = _of_environment(name, self.environment[name], value, where)
            elif expression is None:
                value = ""
        finally:
            self.busy.discard(name)
        self.found[name] = value
        if variable:
            self._validate(name)
        return value

    def _validate(self, name: str) -> None:
        for block in self.variables[name].body.blocks:
            condition = block.body.attributes.get("condition")
            if block.kind != "validation" or condition is None:
                continue
            try:
                right = truth_of(self.evaluator.value(condition, self))
            except ValueError as error:
                raise InvalidInput(f"{block.place}: {error}") from None
            if not right:
                message = block.body.attributes.get("error_message")
                text = self.evaluator.value(message, self) if message else "this value is not allowed"
                raise InvalidInput(f"{block.file}:{block.line}: variable {name}: {oneline(str(text))}")

    def function(self, name: str) -> Function | None:
        block = self.user.get(name)
        if block is None:
            return self.library.find(name)
        return lambda values, _: self._call(block, values)

    def _call(self, block: Block, values: list[Any]) -> Any:
        attributes = block.body.attributes
        names = _words(block, "params")
        rest = _words(block, "variadic_params")
        if "result" not in attributes:
            raise InvalidInput(f"{block.place}: there is no result")
        if len(values) < len(names) or (len(values) > len(names) and not rest):
            expected = f"at least {len(names)}" if rest else str(len(names))
            raise ValueError(f"it takes {expected} arguments, not {len(values)}")
        bound = dict(zip(names, values, strict=False))
        if rest:
            bound[rest[0]] = values[len(names) :]
        return self.evaluator.value(attributes["result"], Local(bound, self))

    # -- blocks

    def config(self) -> Config:
        """Raises InvalidInput."""
        result = Config()
        for name, value in self.attributes.items():
            if not value.json or name != "$schema":
                self[name]
        for name in self.variables:
            self[name]
        found = [block for block in self.blocks if block.kind == "target"]
        for block in found:
            names = [name for name, _ in self._expand(block)]
            if "matrix" in block.body.attributes and block.name not in names:
                group = result.groups.setdefault(block.name, [])
                group += [name for name in names if name not in group]
        for block in self.blocks:
            if block.kind == "group":
                check_name(block.name, block.place)
                result.groups[block.name] = self._group(block)
            elif block.kind not in ("target", "variable", "function"):
                result.warnings.append(f"{block.place}: a block of an unknown kind is left out")
        for name, several in self.targets.items():
            for block, inner in several:
                result.add(name, self._target(block, inner, result))
        return result

    def _group(self, block: Block) -> list[str]:
        expression = block.body.attributes.get("targets")
        value = self.evaluator.value(expression, self) if expression else []
        try:
            return list(dict.fromkeys(coerced("tags", value)))
        except ValueError as error:
            raise InvalidInput(f"{block.place}: targets: {error}") from None

    def _expand(self, block: Block) -> list[tuple[str, Names]]:
        """The targets of a block: itself, or those of its matrix."""
        attributes = block.body.attributes
        check_name(block.name, block.place)
        if "matrix" not in attributes:
            if "name" in attributes:
                raise InvalidInput(f"{block.place}: name requires matrix")
            expanded: list[tuple[str, Names]] = [(block.name, self)]
        else:
            expanded = self._matrix(block)
        for name, names in expanded:
            self.targets.setdefault(name, []).append((block, names))
        if len(self.targets) > MAX_TARGETS:
            raise InvalidInput(f"{block.place}: there are more than {MAX_TARGETS} targets")
        return expanded

    def _matrix(self, block: Block) -> list[tuple[str, Names]]:
        attributes = block.body.attributes
        matrix = self.evaluator.value(attributes["matrix"], self)
        if not isinstance(matrix, dict) or not all(isinstance(each, list) for each in matrix.values()):
            raise InvalidInput(f"{block.place}: matrix is an object of lists")
        count = 1
        for each in matrix.values():
            count *= len(each)
        if count > MAX_TARGETS:
            raise InvalidInput(f"{block.place}: the matrix has {count} targets, of {MAX_TARGETS} at most")
        result: dict[str, Names] = {}
        keys = sorted(matrix, reverse=True)  # the first varies fastest
        for values in itertools.product(*(matrix[key] for key in keys)):
            names = Local(dict(zip(keys, values, strict=True)), self)
            name = self.evaluator.value(attributes["name"], names) if "name" in attributes else block.name
            if not isinstance(name, str):
                raise InvalidInput(f"{block.place}: name is no text")
            check_name(name, block.place)
            if name in result:
                raise InvalidInput(f'{block.place}: duplicate name "{name}"')
            result[name] = names
        return list(result.items())

    def _target(self, block: Block, names: Names, result: Config) -> Target:
        target: Target = {}
        for name, expression in block.body.attributes.items():
            if name in ("name", "matrix"):
                continue
            value = self.evaluator.value(expression, names)
            try:
                value = coerced(name, value)
            except KeyError:
                warning = (
                    f"{expression.file}:{expression.line}: target {block.name}: {oneline(name)} is unknown"
                )
                if warning not in result.warnings:
                    result.warnings.append(warning)
                continue
            except ValueError as error:
                where = f"{expression.file}:{expression.line}: target {block.name}"
                raise InvalidInput(f"{where}: {name}: {error}") from None
            if value is not None:
                target[name] = value
        return target


class _Blocks:
    """`target` in an expression."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def get(self, name: str, where: str) -> Any:
        if name not in self.document.targets:
            for block in self.document.blocks:
                if block.kind == "target" and block.name == name and "matrix" not in block.body.attributes:
                    return _Target(self.document, [(block, self.document)], name)
            raise InvalidInput(f"{where}: there is no target {oneline(name)}")
        return _Target(self.document, self.document.targets[name], name)


class _Target:
    """`target.NAME` in an expression."""

    def __init__(self, document: Document, blocks: list[tuple[Block, Names]], name: str) -> None:
        self.document = document
        self.blocks = blocks
        self.name = name

    def get(self, attribute: str, where: str) -> Any:
        document, key = self.document, f"target.{self.name}.{attribute}"
        if key not in document.found:
            if key in document.busy:
                raise InvalidInput(f"{where}: cycle not allowed for {key}")
            document.busy.add(key)
            try:
                value = None
                for block, names in self.blocks:
                    if attribute in block.body.attributes:
                        value = document.evaluator.value(block.body.attributes[attribute], names)
                document.found[key] = value
            finally:
                document.busy.discard(key)
        return document.found[key]


def check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidInput(f'{where}: invalid name; only "[a-zA-Z0-9_-]+" are allowed')


def _words(block: Block, attribute: str) -> list[str]:
    """The names that an attribute lists, which are no expressions."""
    expression = block.body.attributes.get(attribute)
    if expression is None:
        return []
    if expression.json:
        node = expression.node
        return [str(word) for word in (node if isinstance(node, list) else [node])]
    return [str(token) for token in expression.node.scan_values(lambda token: token.type == "NAME")]


def _of_environment(name: str, text: str, default: Any, where: str) -> Any:
    """A variable's value out of the environment, of the kind that its default is."""
    try:
        if isinstance(default, bool):
            lower = text if text in ("t", "T", "f", "F", "1", "0") else text.lower()
            if text not in ("true", "True", "TRUE", "false", "False", "FALSE", *"tTfF10"):
                raise ValueError(f"{oneline(text)[:40]!r} is no bool")
            return lower in ("true", "t", "T", "1")
        if isinstance(default, Fraction):
            return number(text)
    except ValueError as error:
        raise InvalidInput(f"{where}: the environment's {name}: {error}") from None
    if default is not None and not isinstance(default, str):
        raise InvalidInput(f"{where}: the environment can't give a {type(default).__name__}, unlike {name}")
    return text


def shown(value: Any) -> str:
    """A variable's value for a list of them."""
    try:
        return text_of(value)
    except ValueError:
        return "<null>" if value is None else "<list or object>"
