"""How a build's progress is shown: plain lines, the frames of the live view, BuildKit's JSON; by a fixed clock."""

import base64
import io
import json

import pytest

from estiva.cli.build.progress import build, frame, rawjson
from estiva.cli.build.progress.lines import KEPT, LONGEST, Lines, harmless
from estiva.cli.build.progress.plain import Plain
from estiva.cli.build.progress.steps import Step, Steps
from estiva.errors import InvalidInput


def step(number, stage, place, instruction, status="running", seconds=0.0, **more):
    return {"step": f"{number}/7", "stage": stage, "place": place, "instruction": instruction, "status": status,
            "seconds": seconds, **more}  # fmt: skip


def said(number, data):
    return {**step(number, "", "", ""), "status": "output", "data": data}


def pulled(layer, status, current=0, total=0):
    return {
        "image": "base:1",
        "id": layer,
        "status": status,
        "current": current,
        "total": total,
        "message": "",
    }


# (seconds, event): two stages beside each other, one that stands on a third; one of them fails
STORY = [
    (0.0, step(1, "base", "1/2", "FROM base:1 AS base")),
    (0.1, pulled("", "starting")),
    (0.2, pulled("aaa", "downloading", 0, 2_000_000)),
    (0.3, pulled("bbb", "exists", 500, 500)),
    (0.5, pulled("aaa", "downloading", 1_000_000, 2_000_000)),
    (0.9, pulled("aaa", "done", 2_000_000, 2_000_000)),
    (1.0, pulled("", "complete")),
    (1.0, step(1, "base", "1/2", "FROM base:1 AS base", "done", 1.0)),
    (1.0, step(2, "base", "2/2", "RUN apt-get install gcc")),
    (1.0, step(2, "base", "2/2", "RUN apt-get install gcc", "cached", 0.0)),
    (1.1, {"status": "warning", "message": "build argument A is not used"}),
    (1.2, step(3, "left", "1/2", "FROM base AS left")),
    (1.2, step(3, "left", "1/2", "FROM base AS left", "done", 0.0)),
    (1.2, step(4, "left", "2/2", "RUN make -C left")),
    (1.3, step(5, "right", "1/3", "FROM base AS right")),
    (1.3, step(5, "right", "1/3", "FROM base AS right", "done", 0.0)),
    (1.3, step(6, "right", "2/3", "RUN make -C right")),
    (1.5, said(4, b"cc one.c\ncc tw")),
    (1.6, said(6, b"10%\r20%\r30%")),
    (1.7, said(4, b"o.c\n\x1b[31mred\x1b[0m\x1b]0;title\x07 and \x08\n")),
    (2.7, said(6, b"\r100%\nlast")),
    (3.2, step(6, "right", "2/3", "RUN make -C right", "error", 1.9, error="exit status 2")),
]
TITLE = "web:1"


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(build.time, "monotonic", made.monotonic)
    return made


def told(kind, clock, monkeypatch, story=STORY, error=None, no_color="", view=None):
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = io.StringIO()
    progress = build.BuildProgress(kind, TITLE, stream)
    if view is not None:
        progress.view = view(stream)
    for clock.now, event in story:
        progress(event)
    progress.__exit__(type(error), error, None)
    return stream.getvalue()


PLAIN = """\
#1 [base 1/2] FROM base:1 AS base
base:1: aaa: Downloading
base:1: bbb: Already exists
base:1: aaa: Done
#1 DONE 1.0s
#2 [base 2/2] RUN apt-get install gcc
#2 CACHED
warning: build argument A is not used
#3 [left 1/2] FROM base AS left
#4 [left 2/2] RUN make -C left
#5 [right 1/3] FROM base AS right
#6 [right 2/3] RUN make -C right
#4 0.30 cc one.c
#4 0.50 cc two.c
#4 0.50 \x1b[31mred\x1b[0m and \\x08\x1b[0m
#6 1.40 100%
#6 1.90 last
#6 ERROR 1.9s
#4 CANCELED 2.0s
"""


def test_plain_lines_name_their_step(clock, monkeypatch):
    failed = RuntimeError()
    assert told("plain", clock, monkeypatch, error=failed) == PLAIN
    bare = told("plain", clock, monkeypatch, error=failed, no_color="1")
    assert bare == PLAIN.replace("\x1b[31m", "").replace("\x1b[0m", "")


def test_quiet_tells_warnings_and_what_a_failed_command_said_last(clock, monkeypatch):
    assert told("quiet", clock, monkeypatch) == "warning: build argument A is not used\n"
    lint = [(0.0, {"status": "warning", "message": "said by a rule", "check": "RuleName"})]
    assert told("quiet", clock, monkeypatch, lint) == ""
    assert told("quiet", clock, monkeypatch, error=RuntimeError()) == (
        "warning: build argument A is not used\n[right 2/3] RUN make -C right\n  | 100%\n  | last\n"
    )


def test_a_stage_that_is_alone_needs_no_name(clock, monkeypatch):
    event = {"step": "2/3", "stage": "stage-0", "place": "2/3", "instruction": "RUN a", "status": "running"}
    assert told("plain", clock, monkeypatch, [(0.0, event)]) == "#2 [2/3] RUN a\n#2 CANCELED 0.0s\n"
    event["platform"] = "linux/arm64"
    assert told("plain", clock, monkeypatch, [(0.0, event)]).startswith("#1 [linux/arm64 2/3] RUN a\n")


# --- frames ---


def drawn(until, width=60, height=24, end="", marks=frame.MARKS, story=STORY):
    steps = Steps(0.0)
    for now, event in story:
        if now > until:
            break
        about = steps.take(event, now)
        if event.get("status") == "output":
            about.lines.feed(event["data"])
    if end:
        steps.cancel(until)
    found = frame.rows(steps, TITLE, until, height, marks, end)
    return "\n".join(frame.painted(row, width, False).rstrip() for row in found)


def test_the_frame_of_a_pull():
    assert (
        drawn(0.6)
        == """\
building web:1                                0/7 steps 0.6s
» [base 1/2] FROM base:1 AS base                        0.6s
» pull base:1 ##########.......... 1.0 MB of 2.0 MB     0.5s"""
    )


def test_the_frame_of_steps_that_run_beside_each_other():
    assert (
        drawn(2.0)
        == """\
building web:1                      4/7 steps, 1 cached 2.0s
✓ [base 1/2] FROM base:1 AS base                        1.0s
= [base 2/2] RUN apt-get install gcc                  CACHED
✓ [left 1/2] FROM base AS left                          0.0s
» [left 2/2] RUN make -C left                           0.8s
  │ cc one.c
  │ cc two.c
  │ red and \\x08
✓ [right 1/3] FROM base AS right                        0.0s
» [right 2/3] RUN make -C right                         0.7s
  │ 30%
warning: build argument A is not used"""
    )


def test_the_frame_fits_a_narrow_and_low_terminal():
    assert (
        drawn(2.0, width=28, height=7)
        == """\
building web:1
… 4 steps are over
» [left 2/2] RUN make -C le…
  │ red and \\x08
» [right 2/3] RUN make -C r…
  │ 30%"""
    )
    for height in range(1, 30):
        for width in range(1, 50):
            lines = drawn(2.0, width, height).split("\n")
            assert len(lines) <= max(height - 1, 1)
            assert all(len(line) <= width for line in lines)


def test_what_matters_stays_where_room_is_short():
    story = [
        (0.0, {**step(n, "s", f"{n}/200", f"RUN {n}", "done"), "step": f"{n}/200"}) for n in range(1, 190)
    ]
    story += [(0.0, {**step(190, "s", "190/200", "RUN it"), "step": "190/200"})]
    story += [(0.1, said(190, b"".join(b"line %d\n" % n for n in range(9))))]
    lines = drawn(0.2, height=10, story=story).split("\n")
    assert lines[1:] == [
        "… 184 steps are over",
        *(f"✓ [{n}/200] RUN {n}".ljust(56) + "0.0s" for n in range(185, 190)),
        "» [190/200] RUN it".ljust(56) + "0.2s",
        "  │ line 8",
    ]
    assert len(drawn(0.2, height=10, end="built", story=story).split("\n")) == 191


def test_the_last_frame_has_every_step():
    assert (
        drawn(3.2, end="failed", height=4, marks=frame.ASCII)
        == """\
failed web:1                        5/7 steps, 1 cached 3.2s
+ pull base:1 2.0 MB of 2.0 MB                          0.9s
+ [base 1/2] FROM base:1 AS base                        1.0s
= [base 2/2] RUN apt-get install gcc                  CACHED
+ [left 1/2] FROM base AS left                          0.0s
- [left 2/2] RUN make -C left                  CANCELED 2.0s
+ [right 1/3] FROM base AS right                        0.0s
x [right 2/3] RUN make -C right                   ERROR 1.9s
warning: build argument A is not used"""
    )


def test_a_pull_that_has_not_come_to_its_end_is_not_shown_as_one_that_goes_on():
    assert (
        drawn(0.6, end="failed")
        == """\
failed web:1                                  0/7 steps 0.6s
- pull base:1 1.0 MB of 2.0 MB                 CANCELED 0.5s
- [base 1/2] FROM base:1 AS base               CANCELED 0.6s"""
    )


def test_wide_characters_are_counted_as_columns():
    row = frame.Row("done", "日本語の手順", "1.0s")
    assert frame.painted(row, 40, False) == "日本語の手順" + " " * 24 + "1.0s"
    assert frame.painted(row, 6, False) == "日本 …"
    assert frame.painted(row, 40, True).startswith("\x1b[32m日本")


def test_clocks():
    assert [frame.clock(seconds) for seconds in (0, 59.94, 61, 3600, 7384)] == [
        "0.0s", "59.9s", "1m01s", "1h00m", "2h03m",
    ]  # fmt: skip


# --- rawjson ---


def test_rawjson_is_what_buildkit_s_clients_read(clock, monkeypatch):
    text = told(
        "plain", clock, monkeypatch, error=RuntimeError(),
        view=lambda stream: rawjson.RawJson(stream, lambda: int(clock.now * 1e9), b"nonce"),
    )  # fmt: skip
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(len(line) == 1 for line in lines)
    vertexes = [one for line in lines for one in line.get("vertexes", ())]
    by_name = {}
    for one in vertexes:
        by_name.setdefault(one["name"], []).append(one)
    ran = by_name["[right 2/3] RUN make -C right"]
    assert ran[0] == {
        "digest": ran[0]["digest"],
        "name": ran[0]["name"],
        "started": "1970-01-01T00:00:01.300000000Z",
    }
    assert ran[1] == {**ran[0], "completed": "1970-01-01T00:00:03.200000000Z", "error": "exit status 2"}
    assert by_name["[base 2/2] RUN apt-get install gcc"][1]["cached"] is True
    assert by_name["[left 2/2] RUN make -C left"][-1]["error"] == "context canceled"
    assert len({one["digest"] for one in vertexes}) == len(by_name) == 7
    logs = [one for line in lines for one in line.get("logs", ())]
    assert b"".join(base64.b64decode(one["data"]) for one in logs if one["vertex"] == ran[0]["digest"]) == (
        b"10%\r20%\r30%\r100%\nlast"
    )
    layers = [one for line in lines for one in line.get("statuses", ())]
    assert layers[-1] == {
        "id": "aaa", "vertex": by_name["pull base:1"][0]["digest"], "name": "done", "current": 2_000_000,
        "total": 2_000_000, "timestamp": "1970-01-01T00:00:00.900000000Z", "started": "1970-01-01T00:00:00.200000000Z",
        "completed": "1970-01-01T00:00:00.900000000Z",
    }  # fmt: skip
    (warning,) = [one for line in lines for one in line.get("warnings", ())]
    assert base64.b64decode(warning["short"]) == b"build argument A is not used"


# --- what commands write ---


@pytest.mark.parametrize(
    ("text", "bare", "coloured"),
    [
        ("plain", "plain", "plain"),
        ("a\tb\a", "a\tb\\x07", "a\tb\\x07"),
        ("\x1b[1;31mx\x1b[m y", "x y", "\x1b[1;31mx\x1b[m y\x1b[0m"),
        ("\x1b[2J\x1b[H\x1b[?25lgone", "gone", "gone"),
        ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\link", "link", "link"),
        ("\x1b]0;without an end", "", ""),
        ("\x1bPq#0\x1b\\sixel \x1b(0 \x1bc", "sixel  ", "sixel  "),
        ("\x9b31m \u202eback \x00 \x7f", "\\x9b31m \\u202eback \\x00 \\x7f", "\\x9b31m \\u202eback \\x00 \\x7f"),
        ("\x1b[31", "\\x1b[31", "\\x1b[31"),
    ],
)  # fmt: skip
def test_control_characters_do_no_harm(text, bare, coloured):
    assert harmless(text) == bare
    assert harmless(text, True) == coloured


def test_lines_of_what_comes_in_pieces():
    lines = Lines()
    data = "a\r\nbé\rc\n\nrest".encode()
    assert [found for n in range(len(data)) for found in lines.feed(data[n : n + 1])] == ["a", "c", ""]
    assert lines.tail == ["a", "c", "", "rest"]
    assert lines.end() == ["rest"]
    assert lines.tail == ["a", "c", "", "rest"]
    assert lines.end() == []


def test_lines_are_bounded():
    lines = Lines()
    assert [len(line) for line in lines.feed(b"x" * (2 * LONGEST + 5))] == [LONGEST, LONGEST]
    lines.feed(b"\n" + b"y\n" * 1000)
    assert len(lines.tail) == KEPT
    lines.feed(b"".join(b"\r%d%%" % n for n in range(100_000)))
    assert lines.open == "\r99999%" or lines.open == "99999%"


# --- which view ---


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("asked", "quiet", "variable", "terminal", "term", "kind"),
    [
        ("", False, "", True, "xterm", "tty"),
        ("", False, "", True, "dumb", "plain"),
        ("", False, "", False, "xterm", "plain"),
        ("auto", False, "plain", True, "xterm", "tty"),
        ("", False, "plain", True, "xterm", "plain"),
        ("", False, "rawjson", True, "xterm", "rawjson"),
        ("plain", True, "", True, "xterm", "quiet"),
        ("quiet", False, "", True, "xterm", "quiet"),
        ("tty", False, "", True, "dumb", "tty"),
    ],
)
def test_the_kind_is_what_was_asked_for(asked, quiet, variable, terminal, term, kind, monkeypatch):
    monkeypatch.setenv("BUILDKIT_PROGRESS", variable)
    monkeypatch.setenv("TERM", term)
    assert build.chosen(asked, quiet, Stream(terminal)) == kind


def test_a_kind_that_there_is_not_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv("BUILDKIT_PROGRESS", "")
    with pytest.raises(InvalidInput, match="invalid --progress 'fancy'"):
        build.chosen("fancy", False, Stream(True))
    with pytest.raises(InvalidInput, match="--progress tty needs a terminal"):
        build.chosen("tty", False, Stream(False))
    monkeypatch.setenv("BUILDKIT_PROGRESS", "odd")
    with pytest.raises(InvalidInput, match="invalid BUILDKIT_PROGRESS 'odd'"):
        build.chosen("", False, Stream(True))


def test_an_event_of_a_step_before_it_began_is_taken():
    steps = Steps(0.0)
    assert isinstance(steps.take(said(3, b"x"), 1.0), Step)
    assert steps.take({"status": "new kind"}, 1.0) is None


def test_steps_of_each_platform_have_numbers_of_their_own():
    steps = Steps(0.0)
    events = [step(number, "", f"{number}/2", "RUN x", platform=name) for name in "ab" for number in (1, 2)]
    assert [steps.take(event, 1.0).number for event in events] == [1, 2, 3, 4]
    assert steps.take({**events[0], "status": "done"}, 2.0).number == 1


def test_plain_is_flushed_with_each_event(clock, monkeypatch):
    flushed = []
    stream = io.StringIO()
    stream.flush = lambda: flushed.append(stream.getvalue())
    view = Plain(stream, False)
    view.show(STORY[0][1], Step(STORY[0][1], 0.0), [], 0.0)
    assert flushed[-1] == "#1 [base 1/2] FROM base:1 AS base\n"


def fetched(status, current=0, total=0, seconds=0.0, **more):
    return {"fetch": "https://h/a.tar", "kind": "http", "status": status, "current": current, "total": total,
            "seconds": seconds, **more}  # fmt: skip


FETCH = [
    (0.0, fetched("running")),
    (0.1, fetched("running", 1_000_000, 4_000_000, 0.1)),
    (2.1, fetched("running", 2_000_000, 4_000_000, 2.1)),
    (3.0, fetched("done", 4_000_000, 4_000_000, 3.0)),
    (3.0, fetched("running")),
    (3.5, fetched("error", 500, 0, 0.5, error="broke off")),
]


def test_what_is_fetched_is_told_with_its_bytes_and_its_clock(clock, monkeypatch):
    assert told("plain", clock, monkeypatch, FETCH).splitlines() == [
        "fetch https://h/a.tar",
        "fetch https://h/a.tar 2.0 MB of 4.0 MB 2.1s",
        "fetch https://h/a.tar 4.0 MB of 4.0 MB 3.0s DONE",
        "fetch https://h/a.tar",
        "fetch https://h/a.tar 500 B 0.5s ERROR",
    ]
    steps = Steps(0.0)
    for now, event in FETCH[:3]:
        steps.take(event, now)
    rows = frame.rows(steps, TITLE, 2.5, 20, frame.MARKS)
    assert (rows[-1].left, rows[-1].right) == (
        f"» fetch https://h/a.tar {'#' * 10}{'.' * 10} 2.0 MB of 4.0 MB",
        "2.5s",
    )
    steps.take(FETCH[3][1], 3.0)
    assert len(frame.rows(steps, TITLE, 9.0, 20, frame.MARKS)) == 1
    last = frame.rows(steps, TITLE, 9.0, 20, frame.MARKS, "built")[-1]
    assert (last.left, last.right) == ("✓ fetch https://h/a.tar 4.0 MB of 4.0 MB", "3.0s")


def test_what_is_fetched_is_a_vertex_of_rawjson(clock, monkeypatch):
    lines = [json.loads(line) for line in told("rawjson", clock, monkeypatch, FETCH).splitlines()]
    vertexes = [line["vertexes"][0] for line in lines if "vertexes" in line]
    assert {each["name"] for each in vertexes} == {"fetch https://h/a.tar"}
    assert [each.get("error", "completed" in each) for each in vertexes] == [False, True, "broke off"]
    statuses = [line["statuses"][0] for line in lines if "statuses" in line]
    assert [(each["current"], each["total"]) for each in statuses][:4] == [
        (0, 0), (1_000_000, 4_000_000), (2_000_000, 4_000_000), (4_000_000, 4_000_000),
    ]  # fmt: skip
