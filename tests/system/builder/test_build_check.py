"""`estiva build --check` and `--call`: what is printed, with which status, and that nothing is built."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


CLEAN = f"""
# V which version
ARG V=1
# app is what is shipped
FROM {IMAGE} AS app
ARG V
RUN --mount=type=secret,id=token,required --mount=type=ssh false
FROM app AS tests
"""


@pytest.fixture
def context(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "Dockerfile").write_text(CLEAN)
    return tmp_path


def test_check(box: Host, context: pathlib.Path) -> None:
    assert box.out("build", "--check", context) == "Check complete, no warnings found."
    (context / "Dockerfile").write_text(f"FROM {IMAGE} AS App\nRUN false\n\nENV a \\\n  $b\n")
    done = box.estiva("build", "--check", context, status=1)
    assert done.stderr == ""
    assert done.stdout.startswith("Check complete, 3 warnings have been found!\n\nWARNING: StageNameCasing\n")
    assert done.stdout.endswith(
        "\nWARNING: UndefinedVar\n$b is not set\nDockerfile:4\n--------------------\n   2 |     RUN false\n"
        "   3 |\n   4 | >>> ENV a \\\n   5 | >>>   $b\n   6 |\n--------------------\n"
    )
    assert box.estiva("build", "--call=lint,ignorestatus=true", context).stdout == done.stdout
    assert box.out("images", "-q").count("\n") == 0, "nothing was built"
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nEXPOSE x\n")
    done = box.estiva("build", "--check", context, status=1)
    assert done.stdout == ""
    assert done.stderr.startswith("ERROR: Dockerfile:2: invalid port: 'x'\nDockerfile:2\n")
    (context / "Dockerfile").write_text("FROM localhost:1/nothing\nCMD x\n")
    assert "localhost:1" in box.estiva("build", "--check", context, status=1).stderr


def test_json(box: Host, context: pathlib.Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD x\n")
    found = json.loads(box.estiva("build", "--call=check,format=json", context, status=1).stdout)
    assert [sorted(each) for each in found["warnings"]] == [["description", "detail", "location", "ruleName"]]
    assert found["warnings"][0]["location"] == {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}
    assert found["sources"][0]["filename"] == "Dockerfile"


def test_outline_and_targets(box: Host, context: pathlib.Path) -> None:
    assert box.out("build", "--call=outline", "--target=app", context) == (
        "TARGET:      app\nDESCRIPTION: is what is shipped\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nV           1       which version\n\n"
        "SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault"
    )
    assert box.out("build", "--call=targets", context) == (
        "TARGET          DESCRIPTION\napp             is what is shipped\ntests (default)"
    )
    found = json.loads(box.out("build", "--call=outline,format=json", "--build-arg=V=2", context))
    assert found["name"] == "tests"
    assert found["args"] == [
        {"name": "V", "value": "2", "location": {"ranges": [{"start": {"line": 6}, "end": {"line": 6}}]}}
    ]
    assert [each["name"] for each in found["secrets"]] == ["token"]


def test_words_that_there_are_not(box: Host, context: pathlib.Path) -> None:
    assert "there is no --call=what" in box.estiva("build", "--call=what", context, status=1).stderr
    done = box.estiva("build", "--call=targets,format=yaml", context, status=1)
    assert "unexpected 'format=yaml'" in done.stderr
    assert "two things" in box.estiva("build", "--check", "--call=targets", context, status=1).stderr


def test_a_build_tells_of_mistakes_when_it_has_ended(box: Host, context: pathlib.Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD x\nENV a b\n")
    done = box.estiva("build", context)
    told = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert told[0] == "warning: 2 warnings found (use --check to expand):"
    assert [line.split()[1] for line in told[1:]] == ["JSONArgsRecommended:", "LegacyKeyValueFormat:"]
    assert told[1].endswith("(line 2)")
    assert "warning" not in box.estiva("build", "-q", context).stderr
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD x\nRUN false\n")
    assert "JSONArgsRecommended" in box.estiva("build", context, status=1).stderr
    text = (context / "Dockerfile").read_text()
    (context / "Dockerfile").write_text("# check=error=true\n" + text)
    done = box.estiva("build", context, status=1)
    assert "warnings are errors here: JSONArgsRecommended" in done.stderr
    assert "RUN false" not in done.stderr, "nothing is run then"
    box.estiva("build", "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all", context, status=1)
