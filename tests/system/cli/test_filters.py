"""Every filter of every list verb leaves out what does not fit; what no verb knows, or means nothing, is refused."""

import os
import subprocess

import pytest

from enginekit import IMAGE, eventually, host
from estiva.cli.image.copy import SEARCH_FILTERS
from estiva.engine.containers import listing
from estiva.engine.containers.sweep import PRUNE_FILTERS
from estiva.engine.images import filters as image_filters
from estiva.engine.volumes import FILTERS as VOLUME_FILTERS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NEW = "2024-11-24T13:38:00Z"  # when "new:1" was made; the two others a day before and after
DAY = 86400
MOMENT = 1732455480

# verb -> words before --filter, all that it lists, and for each filter: its value -> what is left
CONTAINERS = {
    "id": [("{runs}", "runs"), ("f" * 64, "")],
    "name": [
        ("uns", "runs"),
        ("^no$", ""),
        ("^/runs$", "runs"),
        ("^runs$", "runs"),
        ("^/?(runs|made)", "runs made"),
    ],
    "label": [("kind", "runs made"), ("kind=b", "made"), ("kind=c", "")],
    "status": [("running", "runs"), ("created", "made"), ("exited", "ended"), ("paused", "")],
    "ancestor": [(IMAGE, "runs ended made"), ("new:1", "made"), ("{new}", "made"), ("old:1", ""), ("", "")],
    "exited": [("3", "ended"), ("4", "")],
    "volume": [("data", "runs"), ("/place", "runs"), ("other", "")],
    "network": [("none", "runs ended"), ("bridge", "made")],
    "before": [("ended", "runs"), ("runs", "")],
    "since": [("ended", "made"), ("made", "")],
    "publish": [("1-65535/tcp", "")],
    "expose": [("80", "")],
    "health": [("none", "runs made ended"), ("healthy", "")],
}
IMAGES = {
    "reference": [("new", "new:1"), ("*:1", "box:1 new:1 old:1"), ("[^bo]*:1", "new:1"), ("nosuch", "")],
    "dangling": [("true", "<none>:<none>"), ("false", "box:1 new:1 old:1")],
    "label": [("kind", "new:1"), ("kind=x", "")],
    "before": [("new:1", "old:1"), ("old:1", "")],
    "since": [("new:1", "box:1 <none>:<none>")],
    "until": [
        (NEW, "old:1"),
        (str(MOMENT + 1), "old:1 new:1"),
        ("0", ""),
        ("876000h", ""),
        ("1h", "old:1 new:1"),
        ("0s", "old:1 new:1 box:1 <none>:<none>"),
    ],
}
VOLUMES = {
    "name": [("dat", "data"), ("nosuch", ""), ("^data$", "data"), ("^ata", "")],
    "label": [("kind", "spare"), ("kind=x", "")],
    "dangling": [("true", "spare"), ("0", "data")],
    "driver": [("local", "data spare"), ("nfs", "")],
}
SEARCH = {"stars": [("0", "team/web"), ("1", "")], "is-official": [("false", "team/web"), ("true", "")]}
VERBS = {
    "ps": (["ps", "-a", "--format", "{{.Names}}"], "runs made ended", CONTAINERS),
    "images": (
        ["images", "--format", "{{.Repository}}:{{.Tag}}"],
        "box:1 new:1 old:1 <none>:<none>",
        IMAGES,
    ),
    "volume ls": (["volume", "ls", "-q"], "data spare", VOLUMES),
    "search": (["search", "--format", "{{.Name}}", "127.0.0.1:5000/"], "team/web", SEARCH),
}
CASES = [
    (verb, f"{name}={value}", left)
    for verb, (_, _, table) in VERBS.items()
    for name, cases in table.items()
    for value, left in cases
]


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.image("new:1", ["LABEL kind=a"])
        made.image("old:1", ["ENV A=1"])
        made.image("lost:1", ["ENV A=2"])
        made.image("lost:1", ["ENV A=3"])
        made.estiva("rmi", "lost:1")
        for name, seconds in (("new:1", MOMENT), ("old:1", MOMENT - DAY)):
            made.db(
                f"UPDATE images SET created = {seconds} WHERE id = '{made.out('inspect', '-f', '{{.Id}}', name)}'"
            )
        made.estiva("volume", "create", "--label", "kind=b", "spare")
        run = ["run", "--network", "none"]
        made.estiva(*run, "-d", "--name", "runs", "-l", "kind=a", "-v", "data:/place", IMAGE, "sleep", "600")
        made.estiva(*run, "--name", "ended", IMAGE, "sh", "-c", "exit 3", status=3)
        made.estiva("create", "--name", "made", "-l", "kind=b", "new:1", "true")
        server = made.start(
            "registry", "serve", "--listen", "127.0.0.1:5000", "--root", f"{made.folder}/registry",
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout.readline()
        made.estiva("tag", IMAGE, "127.0.0.1:5000/team/web:1")
        made.estiva("push", "127.0.0.1:5000/team/web:1")
        made.estiva("rmi", "127.0.0.1:5000/team/web:1")
        made.known = {
            "runs": made.out("ps", "-q", "-f", "name=runs"),
            "new": made.out("images", "-q", "new:1"),
        }
        yield made
        made.estiva("rm", "-f", "runs")
        server.terminate()
        server.wait(120)
        server.stdout.close()


def listed(box, verb, *filters):
    words, _, _ = VERBS[verb]
    given = [word for each in filters for word in ("--filter", each)]
    lines = box.out(words[0], *given, *words[1:]) if words[0] != "volume" else box.out(*words, *given)
    return sorted(line.replace("127.0.0.1:5000/", "") for line in lines.split("\n") if line)


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_filter_all_are_there(box, verb):
    assert listed(box, verb) == sorted(VERBS[verb][1].split())


@pytest.mark.parametrize(("verb", "filter", "left"), CASES, ids=[f"{v} {f}" for v, f, _ in CASES])
def test_a_filter_leaves_out_what_does_not_fit(box, verb, filter, left):
    assert listed(box, verb, filter.format(**box.known)) == sorted(left.split())


def test_every_filter_has_a_case_that_changes_the_result():
    known = {
        "ps": {*listing.FILTERS} - {"is-task"},  # refused by name
        "images": image_filters.FILTERS,
        "volume ls": VOLUME_FILTERS,
        "search": SEARCH_FILTERS,
    }
    for verb, (_, everything, table) in VERBS.items():
        assert set(table) == set(known[verb]), verb
        for name, cases in table.items():
            assert any(set(left.split()) != set(everything.split()) for _, left in cases), (verb, name)


@pytest.mark.parametrize("name", PRUNE_FILTERS)
def test_a_prune_takes_only_what_fits(box, name):
    ids = {
        each: box.out("create", "--name", each, "-l", f"kind={each}", IMAGE, "true") for each in ("p1", "p2")
    }
    made = box.out("inspect", "-f", "{{.Created}}", "p1")
    values = {"label": "kind=p1", "label!": "kind=p2", "until": made, "name": "^p1$", "id": ids["p1"]}
    words = ["--filter", f"{name}={values[name]}", "--filter", "name=^p"]
    box.estiva("container", "prune", "-f", *words[: 2 if name in ("name", "id") else 4])
    assert listed(box, "ps") == sorted(["p2", *VERBS["ps"][1].split()])
    box.estiva("rm", "p2")


@pytest.mark.parametrize("words", [*(words for words, _, _ in VERBS.values()), ["container", "prune", "-f"]])
def test_what_no_verb_knows_is_refused_by_name(box, words):
    told = "invalid filter 'colour'"
    for word, status in (("colour=red", 1), ("colour", 125)):
        done = box.estiva(*words, "--filter", word, status=status)
        assert done.stderr.startswith(f"estiva: {told}\nhint: "), done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "filter"),
    [
        ("images", "until=nonsense"),
        ("images", "until="),
        ("images", "until=-1h"),
        ("images", "dangling=maybe"),
        ("volume ls", "dangling=yes"),
        ("ps", "status=nonsense"),
        ("ps", "exited=x"),
        ("ps", "name=(web"),
        ("ps", "name=" + "(" * 200),
        ("volume ls", "name=[a"),
        ("images", "reference=[a"),
        ("search 127.0.0.1:5000/", "stars=many"),
        ("search 127.0.0.1:5000/", "is-official=maybe"),
        ("container prune -f", "until=nonsense"),
        ("container prune -f --filter until=1h", "until=2h"),
        ("image prune -f", "until=nonsense"),
        ("image prune -f", "dangling=true"),
        ("volume prune -f", "until=24h"),
        ("system prune -f", "id=a"),
        ("system prune -f --volumes", "until=24h"),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused(box, words, filter):
    done = box.estiva(*words.split(), "--filter", filter, status=1)
    assert filter.partition("=")[0] in done.stderr.splitlines()[0]
    assert "hint: " in done.stderr and done.stdout == ""


def test_removing_what_a_filter_lists_removes_no_more(box):
    box.image("older:1", ["ENV A=4"])
    box.image("newer:1", ["ENV A=5"])
    box.db(
        f"UPDATE images SET created = {MOMENT} WHERE id = '{box.out('inspect', '-f', '{{.Id}}', 'older:1')}'"
    )
    wanted = box.out("images", "-q", "--filter", "until=720h", "--filter", "reference=*er").split()
    box.estiva("rmi", *wanted)
    left = eventually(lambda: box.out("images", "--format", "{{.Repository}}")).split()
    assert "newer" in left and "older" not in left
    box.estiva("rmi", "newer:1")


def test_prunes_of_images_and_volumes_take_only_what_fits():
    with host() as box:
        for name in ("i1:1", "i2:1", "i3:1"):
            box.image(name, [f"LABEL kind={name[:2]}", "LABEL all=1"])
        old = box.out("inspect", "-f", "{{.Id}}", "i3:1")
        box.db(f"UPDATE images SET created = {MOMENT} WHERE id = '{old}'")
        for name in ("v1", "v2", "v3"):
            box.out("volume", "create", "--label", f"kind={name}", "--label", "all=1", name)
        box.out("create", "--name", "kept", "-l", "kind=c", IMAGE, "true")

        def left():
            return box.out("images", "-f", "label=all", "--format", "{{.Repository}}").split()

        box.estiva("image", "prune", "-af", "--filter", "until=2024-12-01T00:00:00", "--filter", "label=all")
        assert sorted(left()) == ["i1", "i2"]
        box.estiva("image", "prune", "-af", "--filter", "label=all", "--filter", "label!=kind=i2")
        assert left() == ["i2"]
        box.estiva("volume", "prune", "-af", "--filter", "label=kind=v1")
        assert box.out("volume", "ls", "-q").split() == ["v2", "v3"]
        box.estiva("volume", "prune", "-af", "--filter", "label!=kind=v3")
        assert box.out("volume", "ls", "-q").split() == ["v3"]
        box.estiva("system", "prune", "-af", "--filter", "until=2024-12-01T00:00:00")
        assert left() == ["i2"] and box.out("ps", "-aq", "-f", "name=kept") != ""
        box.estiva("system", "prune", "-af", "--filter", "label=kind=c")
        assert left() == ["i2"] and box.out("ps", "-aq") == "" and box.out("volume", "ls", "-q") == "v3"
        box.estiva("system", "prune", "-af", "--filter", "label!=all")
        assert left() == ["i2"] and box.out("images", "-q", IMAGE) == ""
