"""What can't be equal in what two engines say is replaced by a word."""

from __future__ import annotations

import re

WORDS = (
    # whether create or start refused: Estiva judges all at create
    (r"\nSee 'docker run --help'\.", ""),
    (r"/var/tmp/(docker-cli|estiva-test)-\w+/", "ROOT/"),
    (r"\x1b\[[0-9;]*[a-zA-Z]", ""),
    (r"sha256:[0-9a-f]{12,64}\b", "sha256:ID"),
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b(?=[a-f]*\d)[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9a-f]{25}\b", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( [A-Z]+)?)?", "TIME"),
    (r"\b(Less than a second|About an? \w+|\d+ (seconds?|minutes?))( ago)?\b", "AGO"),
    (r"\b\d+(\.\d+)? ?[kMG]?i?B\b", "SIZE"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b172\.\d+\.\d+\.\d+\b|\b10\.(?!77|0|1|88)\d+\.\d+\.\d+\b|\b192\.168\.\d+\.\d+\b", "ADDRESS"),
    (r"\b[a-z]+_[a-z]+[0-9]?\b(?=\|| |$|\"|')", "A_NAME"),
    (r"(?m) +$", ""),
    (r"  +", "  "),
)


def plain(text: str, folder: str) -> str:
    """What two engines must both say; `folder`: where the command ran."""
    text = text.replace(folder, "FOLDER")
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    return text
