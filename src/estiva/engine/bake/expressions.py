"""What expressions of a bake file are worth.

All work is counted: a file that would take longer than values.Budget allows is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

from estiva.engine.bake import hcl, templates
from estiva.engine.bake.hcl import Expression
from estiva.engine.bake.values import Budget, kind_of, number, number_of, text_of, truth_of
from estiva.errors import InvalidInput, oneline

MAX_CALLS = 40  # functions within each other


class Names(Protocol):
    """Where names are looked up; KeyError for what is not there."""

    def __getitem__(self, name: str, /) -> Any: ...


class Lazy(Protocol):
    """A block that is read as an object: its attributes are worked out when they are asked for."""

    def get(self, name: str, where: str) -> Any: ...


class Local:
    """Names over others."""

    def __init__(self, names: dict[str, Any], below: Names) -> None:
        self.names = names
        self.below = below

    def __getitem__(self, name: str, /) -> Any:
        return self.names[name] if name in self.names else self.below[name]


Function = Callable[[list[Any], str], Any]


class Evaluator:
    """Evaluates the expressions of one set of files."""

    def __init__(self, functions: Callable[[str], Function | None], budget: Budget) -> None:
        self.functions = functions
        self.budget = budget
        self._parsed: dict[tuple[str, str, int], list[Any]] = {}

    def value(self, expression: Expression, names: Names) -> Any:
        """Raises InvalidInput, which names file and line."""
        work = _Work(self, expression, names)
        try:
            return work.json(expression.node) if expression.json else work.value(expression.node, names)
        except RecursionError:
            raise InvalidInput(f"{work.where}: this is nested too deep") from None

    def template(self, text: str, file: str, line: int) -> list[Any]:
        """Its parts: texts, and nodes with their line."""
        key = file, text, line
        if key not in self._parsed:
            self._parsed[key] = [
                (hcl.expression(part, file, line + below), line + below) if is_expression else part
                for is_expression, part, below in templates.parts(text, f"{file}:{line}")
            ]
        return self._parsed[key]


class _Work:
    """One expression."""

    def __init__(self, evaluator: Evaluator, expression: Expression, names: Names) -> None:
        self.evaluator = evaluator
        self.budget = evaluator.budget
        self.file = expression.file
        self.line = expression.line
        self.base = 0  # what the lines of the nodes count from
        self.names = names

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def fail(self, what: object, hint: str = "") -> InvalidInput:
        return InvalidInput(f"{self.where}: {what}", hint=hint)

    def json(self, value: Any) -> Any:
        self.budget.spend(1, self.where)
        if isinstance(value, str):
            return self.template(value, self.line, self.names)
        if isinstance(value, list):
            return [self.json(each) for each in value]
        if isinstance(value, dict):
            return {text_of(self.json(key)): self.json(each) for key, each in value.items()}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self.checked(number, repr(value))
        return value

    def checked(self, reader: Callable[..., Any], *values: Any) -> Any:
        try:
            return reader(*values)
        except ValueError as error:
            raise self.fail(error) from None

    def value(self, node: Any, names: Names) -> Any:
        self.budget.spend(1, self.where)
        if not getattr(node.meta, "empty", True) and not self.base:
            self.line = node.meta.line
        handler = getattr(self, "_" + node.data, None)
        if handler is None:
            raise self.fail(f"{node.data.replace('_', ' ')} is not supported in a bake file")
        return handler(node, names)

    def _inner(self, node: Any) -> list[Any]:
        return [
            child for child in node.children if hasattr(child, "data") and child.data != "new_line_or_comment"
        ]

    def _expr_term(self, node: Any, names: Names) -> Any:
        return self.value(self._inner(node)[0], names)

    def _identifier(self, node: Any, names: Names) -> Any:
        name = str(node.children[0])
        try:
            return names[name]
        except KeyError:
            raise self.fail(f"there is no variable named {oneline(name)}") from None

    def _literal_value(self, node: Any, _: Names) -> Any:
        return {"true": True, "false": False, "null": None}[str(node.children[0])]

    def _int_lit(self, node: Any, _: Names) -> Any:
        return self.checked(number, str(node.children[0]))

    _float_lit = _int_lit

    # -- texts

    def _string(self, node: Any, names: Names) -> Any:
        values: list[Any] = []
        for part in self._inner(node):
            inner = part.children[0]
            if not hasattr(inner, "data"):
                values.append(templates.unescaped(str(inner), self.where))
            elif inner.data == "interpolation":
                value = self.value(self._inner(inner)[0], names)
                if len(self._inner(node)) == 1:
                    return value
                values.append(value)
            else:
                raise self.fail("%{...} in a template is not supported", "${a ? b : c} is")
        return self.joined(values)

    def _heredoc_template(self, node: Any, names: Names) -> Any:
        text = templates.heredoc(str(node.children[0]), trim=node.data.endswith("trim"))
        return self.template(text, self.line + 1, names)

    _heredoc_template_trim = _heredoc_template

    def template(self, text: str, line: int, names: Names) -> Any:
        parsed = self.evaluator.template(text, self.file, line)
        before, values = (self.line, self.base), []
        for part in parsed:
            if isinstance(part, str):
                values.append(part)
                continue
            node, self.line = part
            self.base = 1
            values.append(self.value(node, names))
            self.line, self.base = before
        if len(values) == 1 and not isinstance(parsed[0], str):
            return values[0]
        return self.joined(values)

    def joined(self, values: list[Any]) -> str:
        texts = [self.checked(text_of, value) for value in values]
        self.budget.text(sum(map(len, texts)), self.where)
        return "".join(texts)

    # -- lists and objects

    def _tuple(self, node: Any, names: Names) -> Any:
        return self.budget.value([self.value(child, names) for child in self._inner(node)], self.where)

    def _object(self, node: Any, names: Names) -> Any:
        result = {}
        for element in self._inner(node):
            key, value = self._inner(element)
            result[self._key(key, names)] = self.value(value, names)
        return self.budget.value(result, self.where)

    def _key(self, node: Any, names: Names) -> str:
        inner = self._inner(node)[0]
        if inner.data == "keyword":
            return str(inner.children[0])
        if inner.data == "expr_term" and len(self._inner(inner)) == 1 and len(inner.children) == 1:
            word = inner.children[0]
            if word.data in ("identifier", "literal_value"):
                return str(word.children[0])
        return str(self.checked(text_of, self.value(inner, names)))

    def _items(self, node: Any, names: Names) -> list[tuple[list[str], Any, Any]]:
        """(names of a `for`, key, value) of each turn."""
        *words, source = self._inner(node)
        bound = [str(word.children[0]) for word in words]
        value = self.value(source, names)
        if isinstance(value, dict):
            pairs = list(value.items())
        elif isinstance(value, list):
            pairs = [(Fraction(index), each) for index, each in enumerate(value)]
        else:
            raise self.fail(f"`for` goes through lists and objects, not {kind_of(value)}")
        return [(bound, *pair) for pair in pairs]

    def _turns(self, node: Any, names: Names) -> Any:
        intro, *rest = self._inner(node)
        condition = rest.pop() if rest and rest[-1].data == "for_cond" else None
        for bound, key, value in self._items(intro, names):
            inner = Local(dict(zip(bound, (key, value) if len(bound) == 2 else (value,), strict=True)), names)
            if condition is None or self.checked(truth_of, self.value(self._inner(condition)[0], inner)):
                yield rest, inner

    def _for_tuple_expr(self, node: Any, names: Names) -> Any:
        made = [self.value(rest[0], inner) for rest, inner in self._turns(node, names)]
        return self.budget.value(made, self.where)

    def _for_object_expr(self, node: Any, names: Names) -> Any:
        grouped = "..." in templates.tokens(node)
        result: dict[str, Any] = {}
        for rest, inner in self._turns(node, names):
            key = self.checked(text_of, self.value(rest[0], inner))
            value = self.value(rest[1], inner)
            if grouped:
                result.setdefault(key, []).append(value)
            elif key in result:
                raise self.fail(f"the key {oneline(key)} is there twice")
            else:
                result[key] = value
        return self.budget.value(result, self.where)

    def _index_expr_term(self, node: Any, names: Names) -> Any:
        base, index = self._inner(node)
        return self._indexed(self.value(base, names), index, names)

    def _get_attr_expr_term(self, node: Any, names: Names) -> Any:
        base, attribute = self._inner(node)
        return self._indexed(self.value(base, names), attribute, names)

    def _indexed(self, value: Any, node: Any, names: Names) -> Any:
        if node.data == "get_attr":
            key: Any = str(self._inner(node)[0].children[0])
        elif node.data == "short_index":
            key = self.checked(number, templates.tokens(node)[-1])
        else:
            key = self.value(self._inner(node)[0], names)
        return self.element(value, key)

    def element(self, value: Any, key: Any) -> Any:
        if hasattr(value, "get") and not isinstance(value, dict):
            return value.get(self.checked(text_of, key), self.where)
        if isinstance(value, list) and not isinstance(key, str | bool):
            index = self.checked(number_of, key)
            if index.denominator == 1 and 0 <= index < len(value):
                return value[int(index)]
        elif isinstance(value, dict) and (name := self.checked(text_of, key)) in value:
            return value[name]
        shown = oneline(text_of(key))[:60] if key is not None else "null"
        raise self.fail(f"there is no element {shown} in this {kind_of(value)}")

    def _attr_splat_expr_term(self, node: Any, names: Names) -> Any:
        base, splat = self._inner(node)
        value = self.value(base, names)
        result = []
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            for step in self._inner(splat):
                each = self._indexed(each, step, names)
            result.append(each)
        return result

    _full_splat_expr_term = _attr_splat_expr_term

    # -- operators

    def _conditional(self, node: Any, names: Names) -> Any:
        condition, yes, no = self._inner(node)
        return self.value(yes if self.checked(truth_of, self.value(condition, names)) else no, names)

    def _unary_op(self, node: Any, names: Names) -> Any:
        value = self.value(self._inner(node)[0], names)
        if templates.tokens(node)[0] == "!":
            return not self.checked(truth_of, value)
        return -self.checked(number_of, value)

    def _binary_op(self, node: Any, names: Names) -> Any:
        left, term = self._inner(node)
        operator, right = self._inner(term)
        sign = str(operator.children[0]).strip().splitlines()[-1].strip()
        one = self.value(left, names)
        if sign in ("&&", "||"):
            first = self.checked(truth_of, one)
            return first if first is (sign == "||") else self.checked(truth_of, self.value(right, names))
        two = self.value(right, names)
        if sign in ("==", "!="):
            return (kind_of(one) == kind_of(two) and one == two) is (sign == "==")
        return self.arithmetic(sign, self.checked(number_of, one), self.checked(number_of, two))

    def arithmetic(self, sign: str, one: Fraction, two: Fraction) -> Any:
        if sign in "/%" and not two:
            raise self.fail("division by zero")
        result: Any
        match sign:
            case "+":
                result = one + two
            case "-":
                result = one - two
            case "*":
                result = one * two
            case "/":
                result = one / two
            case "%":
                result = one - two * int(one / two)
            case "<":
                return one < two
            case ">":
                return one > two
            case "<=":
                return one <= two
            case _:
                return one >= two
        return self.budget.value(result, self.where)

    # -- functions

    def _function_call(self, node: Any, names: Names) -> Any:
        inner = self._inner(node)
        name, values = str(inner[0].children[0]), []
        function = self.evaluator.functions(name)
        if function is None:
            raise self.fail(f"there is no function named {oneline(name)}")
        arguments = inner[-1] if inner[-1].data == "arguments" else None
        if name in ("try", "can"):
            return self._tried(name, arguments, names)
        if arguments is not None:
            values = [self.value(each, names) for each in self._inner(arguments)]
            if "..." in templates.tokens(arguments):
                last = values.pop()
                if not isinstance(last, list):
                    raise self.fail(f"what is before ... is no list but {kind_of(last)}")
                values += last
        self.budget.depth += 1
        try:
            if self.budget.depth > MAX_CALLS:
                raise self.fail(f"functions call each other more than {MAX_CALLS} deep")
            return self.budget.value(function(values, self.where), self.where)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise self.fail(f"{oneline(name)}: {error}") from None
        finally:
            self.budget.depth -= 1

    def _tried(self, name: str, arguments: Any, names: Names) -> Any:
        for each in self._inner(arguments) if arguments is not None else ():
            try:
                value = self.value(each, names)
                return True if name == "can" else value
            except InvalidInput:
                continue
        if name == "can":
            return False
        raise self.fail("try: no argument could be worked out")
