"""How long something is past, in the rough words of Docker's lists (go-units)."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in rough words: "About a minute", "3 weeks"."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def ago(seconds: float) -> str:
    """How long something is past: "3 weeks ago"; what is yet to come is "Less than a second ago"."""
    return f"{duration(max(0.0, seconds))} ago"
