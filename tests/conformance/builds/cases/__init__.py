"""The cases, a module for each part of the language. Our own, all of them."""

from cases import (
    adding,
    copying,
    expanding,
    ignoring,
    instructions,
    mounting,
    options,
    refused,
    running,
    staging,
    writing,
)
from cases.case import CASES

__all__ = ["CASES", "adding", "copying", "expanding", "ignoring", "instructions", "mounting", "options", "refused",
           "running", "staging", "writing"]  # fmt: skip
