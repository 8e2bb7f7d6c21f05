"""What a step's key covers: all that the step reads, and nothing else; and layers that are made while others
go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva.errors import EstivaError


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


TOOLS = """
FROM box AS tools
COPY . /src/
RUN cat /src/used > /used
FROM box
RUN --mount=from=tools,source=/used,target=/u cat /u > /out
"""


def test_a_mount_s_content_counts_and_not_the_stage_that_it_is_of(lab: Lab) -> None:
    lab.write(used="one", other="two")
    first = lab.build(TOOLS)
    lab.write(other="three")
    second = lab.build(TOOLS)
    assert lab.statuses()["RUN cat /src/used > /used"] == "done"
    assert lab.statuses()["RUN --mount=from=tools,source=/used,target=/u cat /u > /out"] == "cached"
    assert second.diff_ids == first.diff_ids
    lab.write(used="changed")
    assert lab.read(lab.build(TOOLS), "/out") == "changed"
    assert lab.statuses()["RUN --mount=from=tools,source=/used,target=/u cat /u > /out"] == "done"


def test_mode_and_owner_of_what_is_mounted_count(lab: Lab) -> None:
    lab.write(used="one")
    text = (
        "FROM box AS tools\nCOPY used /used\nRUN {change} /used\n"
        "FROM box\nRUN --mount=from=tools,source=/used,target=/u ls -ln /u > /out\n"
    )
    step = "RUN --mount=from=tools,source=/used,target=/u ls -ln /u > /out"
    lab.build(text.format(change="chmod 600"))
    for change in ("chmod 755", "chown 7:8"):
        lab.build(text.format(change=change))
        assert lab.statuses()[step] == "done"


def test_the_whole_of_a_stage_counts_where_all_of_it_is_mounted(lab: Lab) -> None:
    text = (
        "FROM box AS tools\nRUN echo {n} > /n\nFROM box\nRUN --mount=from=tools,target=/t cat /t/n > /out\n"
    )
    lab.build(text.format(n=1))
    assert lab.read(lab.build(text.format(n=2)), "/out") == "2\n"
    assert lab.read(lab.build(text.format(n=1)), "/out") == "1\n"
    assert set(lab.statuses().values()) == {"done", "cached"}


def test_each_step_stands_on_what_the_one_before_it_wrote(lab: Lab) -> None:
    """Before its layer has been made: files, changes of them, deletions, and folders that hide what was there."""
    text = (
        "FROM box\nRUN mkdir -p /d/deep && echo 1 > /d/a && echo 1 > /d/b\n"
        "RUN rm /d/a && echo 2 > /d/b && echo 2 > /d/c\n"
        "RUN test ! -e /d/a && rm -r /d && mkdir /d && cat /etc/passwd > /d/p\n"
        "RUN test ! -e /d/deep && ls /d > /list\n"
        "COPY --link f /d/linked\nWORKDIR /d/w\nRUN ls /d > /list\n"
    )
    lab.write(f="linked")
    image = lab.build(text)
    assert lab.read(image, "/list") == "linked\np\nw\n"
    assert lab.names(image, "/d") == ["linked", "p", "w"]
    assert lab.build(text).id == image.id
    assert set(lab.statuses().values()) <= {"cached", "done"}
    assert [each for each in lab.events if each["status"] == "running" and "RUN" in each["instruction"]]
    assert not lab.steps, "an unchanged build runs nothing"


def test_a_link_copy_is_found_above_what_is_new(lab: Lab) -> None:
    lab.write(f="linked")
    text = "FROM box\nRUN echo {n} > /n\nCOPY --link f /f\nRUN cat /n /f > /out\n"
    lab.build(text.format(n=1))
    image = lab.build(text.format(n=2))
    assert lab.statuses()["COPY --link f /f"] == "cached"
    assert lab.read(image, "/out") == "2\nlinked"


def test_a_run_without_changes_keeps_what_follows_cached(lab: Lab) -> None:
    text = "FROM box\nRUN : {n}\nRUN echo x > /x\n"
    lab.build(text.format(n=1))
    lab.build(text.format(n=2))
    assert lab.statuses()["RUN : 2"] == "done"
    assert lab.statuses()["RUN echo x > /x"] == "cached"


def test_what_can_be_no_layer_is_told_with_the_line_that_wrote_it(lab: Lab) -> None:
    text = "FROM box\nRUN echo 1 > /1\nRUN echo bad > /.wh.x\nRUN echo 2 > /2\nRUN echo 3 > /3\n"
    with pytest.raises(EstivaError, match=r"Dockerfile:3: /\.wh\.x can't be kept in a layer"):
        lab.build(text)
    lab.build(text.replace("bad > /.wh.x", "good > /x"))
    assert lab.statuses()["RUN echo 1 > /1"] == "cached", "what was made before it is kept"


def test_steps_before_a_failed_one_are_kept(lab: Lab) -> None:
    text = "FROM box\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN test -e /3\n"
    with pytest.raises(EstivaError, match="exit status 1"):
        lab.build(text)
    with pytest.raises(EstivaError, match="exit status 1"):
        lab.build(text)
    assert [lab.statuses()[f"RUN echo {n} > /{n}"] for n in (1, 2)] == ["cached", "cached"]


def test_of_a_copy_too_it_is_told_that_what_lies_below_has_changed(lab: Lab) -> None:
    text = "FROM box\nCOPY f /f\nCOPY <<E /e\ne\nE\nCOPY --link g /g\n"
    lab.write(f="1", g="1")
    lab.build(text)
    lab.write(f="2")
    lab.build(text, explain_cache=True)
    assert lab.output().splitlines() == [
        "not cached: content of f has changed",
        "not cached: what lies below it has changed, from here on: COPY f /f",
    ]


def test_what_has_changed_is_told_of_a_step_that_runs(lab: Lab) -> None:
    text = "FROM box\nARG V=1\nCOPY src /src\nRUN ls /src > /list\nRUN echo {last} > /last\n"
    lab.write(src__a="a", src__b="b", src__c="c")

    def told(text: str, **options: object) -> list[str]:
        lab.build(text, explain_cache=True, **options)
        return [line.removeprefix("not cached: ") for line in lab.output().splitlines()]

    assert told(text.format(last=1)) == ["it has not been built here before"] * 3
    assert told(text.format(last=1)) == []
    lab.put("src/a", "a", 0o755)
    lab.put("src/b", "other")
    (lab.context / "src/c").unlink()
    lab.put("src/d", "d")
    below = "what lies below it has changed, from here on: COPY src /src"
    assert told(text.format(last=1)) == [
        "mode of src/a 0644 -> 0755",
        "content of src/b has changed",
        "src/c is gone",
        "src/d is new",
        below,
        below,
    ]
    assert told(text.format(last=2)) == [
        'argv: ["/bin/sh", "-c", "echo 1 > /last"] -> ["/bin/sh", "-c", "echo 2 > /last"]'
    ]
    assert told(text.format(last=1)) == []
    assert told(text.format(last=3))[0].startswith('argv: ["/bin/sh", "-c", "echo 1'), (
        "the last build, not the last that ran"
    )
    assert told(text.format(last=3), build_args={"V": "2"})[0] == "variable V: 1 -> 2"
    assert told(text.format(last=3), no_cache=True) == ["the cache is not used"] * 3


def test_what_is_remembered_of_steps_is_bounded_and_may_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from estiva.builder.cache import inputs
    from estiva.builder.files import record

    monkeypatch.setattr(record, "MOST", 6)
    for number in range(30):
        lab.put(f"src/{number}", "x")
    text = "FROM box\nCOPY src /src\n"
    lab.build(text)
    for number in range(30):
        lab.put(f"src/{number}", "y")
    monkeypatch.setattr(inputs, "LINES", 2)
    lab.build(text, explain_cache=True)
    assert lab.output().splitlines()[2:] == ["not cached: and more"]
    for name in (lab.context.parent / "root/cache/build/inputs").iterdir():
        name.write_bytes(b"damaged")
    lab.put("src/1", "z")
    lab.build(text, explain_cache=True)
    assert lab.output() == "not cached: it has not been built here before\n"
