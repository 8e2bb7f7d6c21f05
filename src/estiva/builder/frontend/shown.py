"""A RUN as people are shown it: with the values of its variables, else as it is written."""

from __future__ import annotations

import re

from estiva.builder.frontend.variables import Expander

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.variables import _Scan

_NAME = re.compile(r"\$\{?(\w+|[@*#?$!-])")


class Shown(Expander):
    """Quotes stay, and so do variables that are not set here: the command may have them."""

    def _quoted(self, quote: str, text: str) -> str:
        return f"{quote}{text}{quote}"

    def _dollar(self, scan: _Scan) -> str:
        start = scan.position - 1
        text = super()._dollar(scan)
        written = scan.text[start : scan.position]
        name = _NAME.match(written)
        return written if name is not None and name[1] not in self.values else text
