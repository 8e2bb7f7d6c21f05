"""api/images/progress.py: a pull and a push in docker's words."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.api.images.progress import Pulled, Pushed, bar, size
from estiva.oci.reference import Reference


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (2024726, "2.025MB"), (10**9, "1GB"), (5 * 10**18, "5000PB")],
)
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("current", "total", "shown"),
    [
        (0, 0, ""),
        (1500, 0, "   1.5kB"),
        (5, 3, "      5B"),
        (25, 100, f"[{'=' * 12}>{' ' * 38}]      25B/100B"),
        (100, 100, f"[{'=' * 50}>]     100B/100B"),
    ],
)
def test_bar(current: int, total: int, shown: str) -> None:
    assert bar(current, total) == shown


def event(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": name, "status": status, "current": current, "total": total, "message": ""}


def test_a_pull() -> None:
    told: list[dict[str, Any]] = []
    pulled = Pulled(told.append, Reference.parse("alpine:3"))
    pulled.take(event("", "starting"))
    assert not told  # the registry has not answered: an error has a status of its own
    for each in (
        event("aa", "exists", 5, 5),
        event("bb", "downloading", 0, 9),
        event("bb", "extracting", 9, 9),
        event("bb", "done", 9, 9),
    ):
        pulled.take(each)
    pulled.end("sha256:0", newer=False)
    assert [(line["status"], line.get("id")) for line in told] == [
        ("Pulling from library/alpine", "3"),
        ("Already exists", "aa"),
        ("Pulling fs layer", "bb"),
        ("Downloading", "bb"),
        ("Download complete", "bb"),
        ("Extracting", "bb"),
        ("Pull complete", "bb"),
        ("Digest: sha256:0", None),
        ("Status: Downloaded newer image for alpine:3", None),
    ]
    assert told[3]["progressDetail"] == {"total": 9}
    assert told[1]["progressDetail"] == {}


def test_a_pull_of_what_is_here() -> None:
    told: list[dict[str, Any]] = []
    pulled = Pulled(told.append, Reference.parse("alpine"))
    pulled.take(event("manifest", "exists"))
    pulled.end("sha256:0", newer=False)
    assert [line["status"] for line in told] == [
        "Pulling from library/alpine",
        "Digest: sha256:0",
        "Status: Image is up to date for alpine:latest",
    ]


def test_a_push_tells_of_layers_alone() -> None:
    told: list[dict[str, Any]] = []
    pushed = Pushed(told.append, "config")
    for each in (
        event("config", "pushing", 1, 1),
        event("config", "done", 1, 1),
        event("aa", "exists", 5, 5),
        event("bb", "pushing", 3, 9),
        event("bb", "done", 9, 9),
        event("manifest", "done", 7, 7),
    ):
        pushed.take(each)
    assert [(line["status"], line["id"]) for line in told] == [
        ("Preparing", "aa"),
        ("Layer already exists", "aa"),
        ("Preparing", "bb"),
        ("Pushing", "bb"),
        ("Pushed", "bb"),
    ]
