"""What is said to people goes through `say`, so that a catalogue of another language can be put under it."""

from __future__ import annotations


def say(text: str, /, **values: object) -> str:
    """A sentence with its values put in by name (str.format). What is hostile comes as a value, never as
    `text`."""
    return text.format(**values) if values else text


def count(number: int, one: str, many: str) -> str:
    """A number with its word: `one` and `many` have {n}."""
    return say(one if number == 1 else many, n=number)
