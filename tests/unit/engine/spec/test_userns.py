"""User namespaces: which modes there are, and the ids that they come to."""

import pytest

from estiva import fastjson
from estiva.engine.spec import userns
from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported

ENDLESS = "9" * 5000


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """/etc/subuid and /etc/subgid of their own."""
    paths = {"UidMap": str(tmp_path / "subuid"), "GidMap": str(tmp_path / "subgid")}
    monkeypatch.setattr(userns, "_FILES", paths)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "extent"),
    [("0:1000", (0, 1000, 1)), ("0:1000:5", (0, 1000, 5)), ("0:4294967294:1", (0, 4294967294, 1))],
)
def test_extents(text, extent):
    assert userns.extent(text, "--uidmap") == extent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0:1:2:3",
        "a:1",
        "-1:1",
        "0:1:0",
        "0:4294967295",
        "0:4294967294:2",
        "٣:1",
        f"0:{ENDLESS}",
        "0: 1",
    ],
)
def test_what_is_no_extent(text):
    with pytest.raises(InvalidInput, match="invalid --uidmap: "):
        userns.extent(text, "--uidmap")


def test_mappings_that_the_kernel_can_use():
    assert userns.checked([(5, 20, 1), (0, 10, 5)], "x") == ["0:10:5", "5:20:1"]
    for extents, message in (
        ([(0, 10, 5), (4, 20, 1)], "the container id 4 is mapped twice"),
        ([(0, 10, 5), (5, 14, 1)], "the host id 14 is mapped twice"),
        ([(1, 10, 5)], "the container's root, id 0, is not mapped"),
        ([], "the container's root, id 0, is not mapped"),
        ([(number, number, 1) for number in range(341)], "341 ranges are more than the kernel's 340"),
    ):
        with pytest.raises(InvalidInput, match=message):
            userns.checked(extents, "x")


REFUSED = [
    ({"UsernsMode": "x"}, InvalidInput, "--userns: invalid userns mode 'x'"),
    ({"UsernsMode": "host:x"}, InvalidInput, "--userns: invalid userns mode 'host:x'"),
    ({"UsernsMode": "nomap"}, Unsupported, "--userns nomap is for containers of ordinary users"),
    ({"UsernsMode": "container:"}, InvalidInput, "invalid --userns: container:"),
    ({"UsernsMode": "ns:rel"}, InvalidInput, "invalid --userns: ns:rel"),
    ({"UsernsMode": "auto:x=1"}, InvalidInput, "auto has no option x"),
    ({"UsernsMode": "auto:size=0"}, InvalidInput, "invalid --userns: size=0"),
    ({"UsernsMode": f"auto:size={ENDLESS}"}, InvalidInput, "is not an id or a size"),
    ({"UsernsMode": "auto:uidmapping=x"}, InvalidInput, "invalid uidmapping: x"),
    ({"UsernsMode": "keep-id:x=1"}, InvalidInput, "keep-id has no option x"),
    ({"UsernsMode": "keep-id:uid=4294967295"}, InvalidInput, "uid=4294967295 is not an id or a size"),
    (
        {"UsernsMode": "host", "IDMappings": {"UidMap": ["0:1:1"]}},
        Conflict,
        "--userns host can't be used with",
    ),
    ({"UsernsMode": "auto", "SubuidName": "x"}, Conflict, "--userns auto can't be used with"),
    (
        {"SubuidName": "x", "IDMappings": {"UidMap": ["0:1:1"]}},
        Conflict,
        "can't be used with --uidmap and --gidmap",
    ),
    ({"IDMappings": {"UidMap": ["x"]}}, InvalidInput, "invalid --uidmap: x"),
    (
        {"IDMappings": {"UidMap": ["1:1:1"]}},
        InvalidInput,
        "--uidmap: the container's root, id 0, is not mapped",
    ),
    (
        {"IDMappings": {"UidMap": ["0:1:1"], "GidMap": ["0:1:2", "1:9:1"]}},
        InvalidInput,
        "--gidmap: the container id 1",
    ),
]


@pytest.mark.parametrize(("host", "kind", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(host, kind, message):
    with pytest.raises(kind) as caught:
        userns.check(host)
    assert message in caught.value.message


def test_modes_that_there_are():
    for mode in (None, "", "host", "private", "auto", "auto:size=5,uidmapping=0:1:1", "keep-id", "keep-id:uid=5,gid=6",
                 "container:x", "ns:/proc/1/ns/user"):  # fmt: skip
        userns.check({"UsernsMode": mode})
    userns.check(
        {"UsernsMode": "private", "IDMappings": {"UidMap": ["0:1:1"], "GidMap": None}, "SubuidName": ""}
    )


def settled(config=None, **host):
    config = config if config is not None else {}
    userns.settle(config, host)
    return host


def test_either_mapping_is_for_both():
    assert settled(IDMappings={"GidMap": ["5:9", "0:1:5"]}) == {
        "UsernsMode": "private",
        "IDMappings": {"UidMap": ["0:1:5", "5:9:1"], "GidMap": ["0:1:5", "5:9:1"]},
    }


def test_ranges_by_name_follow_each_other(files):
    (files / "subuid").write_text("other:5:5\nme:100:10\nme:500:3\nme:x:1\n")
    (files / "subgid").write_text("me:700:1\n")
    assert settled(SubuidName="me") == {
        "UsernsMode": "private",
        "IDMappings": {"UidMap": ["0:100:10", "10:500:3"], "GidMap": ["0:700:1"]},
    }
    with pytest.raises(NotFound, match="subuid has no ranges for nobody-there"):
        settled(SubuidName="nobody-there")


def test_keep_id_names_the_user_where_nobody_did():
    config = {}
    host = settled(config, UsernsMode="keep-id:uid=5,gid=6")
    assert config == {"User": "5:6"}
    assert all(line.split(":")[0] == line.split(":")[1] for line in host["IDMappings"]["UidMap"])
    config = {"User": "me"}
    settled(config, UsernsMode="keep-id")
    assert config == {"User": "me"}


def test_other_modes_stay_as_they_are():
    assert settled(UsernsMode="auto:size=5") == {"UsernsMode": "auto:size=5"}
    assert settled(UsernsMode="host") == {"UsernsMode": "host"}
    assert settled() == {}


def test_lines_of_subuid_that_are_none_count_for_nothing(files):
    path = files / "x"
    path.write_text(f"a:1:2\n# c\nb:3\nc:-1:5\nd:1:0\ne:4294967294:2\nf:٣:1\ng:{ENDLESS}:1\n  h:7:8  \n")
    assert userns.subordinate(str(path), None) == [(1, 2), (7, 8)]
    assert userns.subordinate(str(path), "h") == [(7, 8)]
    assert userns.subordinate(str(files / "nosuch"), None) == []
    with pytest.raises(InvalidInput, match="can't be read: is a directory"):
        userns.subordinate(str(files), None)


def allocated(mode, *others):
    made = {"HostConfig": {"UsernsMode": mode}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            userns.containers, "id_mappings", lambda reader: [fastjson.dumps(one) for one in others]
        )
        userns.allocate(None, made)
    return made["HostConfig"]["IDMappings"]


def both(*lines):
    return {"UidMap": list(lines), "GidMap": list(lines)}


def test_auto_takes_what_nobody_has():
    start, _ = userns.POOL
    assert allocated("auto") == both(f"0:{start}:65536")
    assert allocated("auto:size=10", both(f"0:{start}:10")) == both(f"0:{start + 10}:10")
    # between two others, and not across them
    others = both(f"0:{start}:10"), both(f"0:{start + 15}:10")
    assert allocated("auto:size=5", *others) == both(f"0:{start + 10}:5")
    assert allocated("auto:size=6", *others) == both(f"0:{start + 25}:6")


def test_auto_with_some_ids_forced(files):
    (files / "subuid").write_text("containers:1000:10\n")
    (files / "subgid").write_text("containers:2000:10\n")
    found = allocated("auto:size=5,uidmapping=2:77:1")
    assert found["UidMap"] == ["0:1000:2", "2:77:1", "3:1002:2"]
    assert found["GidMap"] == ["0:2000:5"]


def test_auto_when_nothing_is_free(files):
    (files / "subuid").write_text("containers:1000:10\n")
    (files / "subgid").write_text("containers:1000:10\n")
    with pytest.raises(Conflict, match="no 8 ids in a row are free"):
        allocated("auto:size=8", both("0:1005:1"))


def test_what_others_have_in_the_files_is_left_alone(files):
    start, _ = userns.POOL
    (files / "subuid").write_text(f"me:{start}:10\n")
    assert allocated("auto:size=5")["UidMap"] == [f"0:{start + 10}:5"]


def test_mappings_in_other_words():
    lines = ["0:1000:5", "5:9:1"]
    assert userns.oci(lines) == [
        {"containerID": 0, "hostID": 1000, "size": 5},
        {"containerID": 5, "hostID": 9, "size": 1},
    ]
    assert userns.text(lines) == "0 1000 5\n5 9 1"
    assert userns.root({"UidMap": lines, "GidMap": ["0:7:1"]}) == (1000, 7)
    assert userns.has(lines, 5) and not userns.has(lines, 6)
    assert userns.identical(both("0:0:9")) and not userns.identical(both("0:1:9"))
    assert userns.wants_range({"UsernsMode": "auto:size=5"}) and not userns.wants_range(
        {"UsernsMode": "host"}
    )
