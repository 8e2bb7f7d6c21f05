"""A RUN as people are shown it: with the values of its variables, else as it is written."""

from __future__ import annotations

import re

from estiva.builder.frontend.variables import Expander, _Syntax

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.variables import _Scan

_NAME = re.compile(r"\$\{?(\w+|[@*#?$!-])")


class Shown(Expander):
    """Quotes stay, and so do variables that are not set here: the command may have them."""

    def _until(self, scan: _Scan, stop: str, *, raw: bool) -> list[tuple[str, bool]]:
        pieces: list[tuple[str, bool]] = []
        while not scan.end:
            char = scan.next()
            if char == stop:
                return pieces
            if char == "'":
                pieces.append((f"'{scan.through(char)}'", False))
            elif char == '"':
                pieces.append((f'"{self._double_quoted(scan, raw)}"', False))
            elif char == "$":
                pieces.append((self._dollar(scan), True))
            elif char == self.escape:
                pieces.append(((char if raw else "") + scan.next(), False))
            else:
                pieces.append((char, True))
        if stop:
            raise _Syntax(f"missing {stop!r}")
        return pieces

    def _dollar(self, scan: _Scan) -> str:
        start = scan.position - 1
        text = super()._dollar(scan)
        written = scan.text[start : scan.position]
        name = _NAME.match(written)
        return written if name is not None and name[1] not in self.values else text
