"""Each Dockerfile of `cases`, built by docker's BuildKit and by Estiva: the same verdict, config, history and tree.

    ./test tests/conformance/builds -k copy

`--durations=0` tells nothing here: all that are asked for are built when the first one is.
"""

from __future__ import annotations

import concurrent.futures
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import bundle
import compare
from cases import CASES
from cases.case import Case
from peers import Built, Lab


def has_buildx() -> bool:
    programs = ("dockerd", "docker", "git", "unshare", "nsenter")
    return (
        all(map(shutil.which, programs))
        and not subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode
    )


pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(not has_buildx(), reason="needs dockerd, docker-buildx and git"),
    pytest.mark.timeout(2400),  # all of them are built before the first is looked at
]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, tuple[Built, Built]]]:
    """(what the reference made, what we made) of all cases that were asked for."""
    names = {item.callspec.params["case"].name for item in request.session.items if hasattr(item, "callspec")
             and isinstance(item.callspec.params.get("case"), Case)}  # fmt: skip
    lab = Lab()
    try:
        wanted = [case for case in CASES if case.name in names]
        with concurrent.futures.ThreadPoolExecutor(2) as both:
            reference = both.submit(lab.reference.build, wanted, 3)
            ours = both.submit(lab.ours.build, wanted, 2).result()
        theirs = reference.result()
        compare.BEGIN = lab.begin
        yield {name: (theirs[name], ours[name]) for name in theirs}
    finally:
        lab.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_build(case: Case, results: dict[str, tuple[Built, Built]], request: Any) -> None:
    reference, ours = results[case.name]
    if case.wanted:
        request.applymarker(pytest.mark.xfail(reason=case.wanted, strict=True))
    wrong = list(compare.wrong(case, reference, ours))
    if wrong:
        pytest.fail("\n".join([f"{case.name}: {' '.join(case.options)}", case.text, *wrong]), pytrace=False)
