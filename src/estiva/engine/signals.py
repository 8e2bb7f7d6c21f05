"""Signal names and numbers: see estiva.runtime.signals."""

from __future__ import annotations

from estiva.runtime.signals import NUMBERS, RTMAX, RTMIN, name, number

__all__ = ["NUMBERS", "RTMAX", "RTMIN", "name", "number"]
