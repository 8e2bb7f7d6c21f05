"""What of two builds of one Dockerfile is not the same, in lines that can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from cases.case import ASPECTS, Case
from peers import NEWEST, Built
from savekit import Node

BEGIN = 0  # when the builds began: what is newer has no time that is fixed

LEFT_OUT = ("created", "history", "rootfs", "config")


def wrong(case: Case, reference: Built, ours: Built) -> Iterator[str]:
    """What is not as the case says."""
    differences = all_of(case, reference, ours)
    for aspect, lines in differences.items():
        meant = case.differs.get(aspect)
        if aspect in case.changed and reference.frontend < NEWEST:
            continue
        if meant and not lines:
            yield f"the {aspect} is the same by now, though: {meant}"
        elif not meant:
            yield from lines
    if not reference.asked:
        if bool(case.fails) != bool(ours.status):
            yield f"{'to be refused' if case.fails else 'to be built'}:\n{ours.output[-1500:]}"
    elif "verdict" in case.changed and reference.frontend < NEWEST:
        pass
    elif "verdict" not in case.differs and bool(case.fails) != bool(reference.status):
        yield (
            "the reference was to refuse it"
            if case.fails
            else f"the reference refuses it:\n{reference.output[-1500:]}"
        )
    elif reference.status and not re.search(case.fails, reference.output):
        yield f"the reference refuses it, but not for {case.fails!r}:\n{reference.output[-1500:]}"
    if "Traceback" in ours.output:
        yield ours.output


def all_of(case: Case, reference: Built, ours: Built) -> dict[str, list[str]]:
    """aspect -> the differences."""
    found: dict[str, list[str]] = {aspect: [] for aspect in ASPECTS}
    if not reference.asked:
        pass
    elif bool(reference.status) != bool(ours.status):
        found["verdict"] = [
            f"the reference ends with {reference.status}, we with {ours.status}",
            "-- reference\n" + reference.output[-1500:],
            "-- ours\n" + ours.output[-1500:],
        ]
    elif reference.status == 0:
        found["config"] = _pairs(config(reference.document), config(ours.document))
        if not reference.older:
            found["history"] = _lines(history(reference.document), history(ours.document))
        found["tree"] = _pairs(tree(reference.tree), tree(ours.tree))
    return found


def config(document: dict[str, Any]) -> dict[str, Any]:
    """The config, and what else the document says; what is empty says nothing."""
    said = {key: value for key, value in document.items() if key not in LEFT_OUT}
    said |= {f"config.{key}": value for key, value in (document.get("config") or {}).items()}
    return {key: json.dumps(value, sort_keys=True) for key, value in said.items() if value}


def history(document: dict[str, Any]) -> list[str]:
    steps = document.get("history") or []
    return [f"{step.get('created_by')!r}{' (no layer)' if step.get('empty_layer') else ''}" for step in steps]


def tree(nodes: dict[str, Node]) -> dict[str, str]:
    """path -> all that there is to know of it. The root's own entry is only in some archives."""
    first: dict[int, str] = {}
    told: dict[str, str] = {}
    for path in sorted(nodes):
        if path == "/":
            continue
        node = nodes[path]
        same = first.setdefault(id(node), path)
        time = "now" if node.time >= BEGIN else str(node.time)
        words = [node.kind, f"{node.mode:04o}", node.owner, time, node.content]
        words += [f"{name}={value}" for name, value in sorted(node.attributes.items())]
        told[path] = " ".join(filter(None, words)) + (f" (same as {same})" if same != path else "")
    return told


def _pairs(theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    lines = []
    for key in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(key), ours.get(key)
        if one != other:
            lines.append(f"{key}:\n  reference {one or 'has none'}\n  ours      {other or 'has none'}")
    return lines


def _lines(theirs: list[str], ours: list[str]) -> list[str]:
    import difflib

    return (
        list(difflib.unified_diff(theirs, ours, "reference", "ours", lineterm="")) if theirs != ours else []
    )
