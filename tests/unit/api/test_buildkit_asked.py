"""The words of dockerfile.v0 as options of our builder; none of them names a place of this machine."""

import pytest

from estiva.api.buildkit import asked, failures, messages, shared, status
from estiva.builder.frontend.errors import BuildFailed
from estiva.engine.builds import build as builds
from estiva.errors import InvalidInput


def test_options() -> None:
    found = asked.options(
        {
            "build-arg:A": "1",
            "label:l": "x",
            "target": "t",
            "image-resolve-mode": "pull",
            "force-network-mode": "none",
            "no-cache": "",
            "platform": "linux/amd64",
            "add-hosts": "a=1.2.3.4,b=::1",
            "shm-size": "1048576",
            "ulimit": "nofile=10:20,core=0",
            "cgroup-parent": "/x",
            "attest:provenance": "mode=min,inline-only=true",
            "attest:sbom": "",
        }
    )
    assert found == {
        "build_args": {"A": "1"},
        "labels": {"l": "x"},
        "target": "t",
        "pull": True,
        "network": "none",
        "no_cache": True,
        "no_cache_filter": [],
        "platform": "linux/amd64",
        "limits": {
            "ExtraHosts": ["a:1.2.3.4", "b:::1"],
            "ShmSize": 1048576,
            "Ulimits": [
                {"Name": "nofile", "Soft": 10, "Hard": 20},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "CgroupParent": "/x",
        },
        "attest": ["type=sbom"],
    }
    several = asked.options({"platform": "linux/amd64,linux/arm64", "no-cache": "a,b"})
    assert several["platforms"] == ["linux/amd64", "linux/arm64"]
    assert (several["no_cache"], several["no_cache_filter"]) == (False, ["a", "b"])


@pytest.mark.parametrize(
    "attrs",
    [{"shm-size": "1e9"}, {"ulimit": "nofile=x"}, {"force-network-mode": "bridge:x"}, {"add-hosts": '"'}],
)
def test_words_that_are_wrong(attrs: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        asked.options(attrs)


def test_what_means_nothing_is_told() -> None:
    assert asked.unknown({"build-arg:x": "", "vcs:source": "", "context": "", "contextx": "", "new": ""}) == [
        "contextx",
        "new",
    ]


def test_caches() -> None:
    entry = {"type": "registry", "attrs": {"ref": "a/b:c", "mode": "max"}}
    assert asked.cache(entry) == '"type=registry","ref=a/b:c","mode=max"'
    local = {"type": "local", "attrs": {"dest": "/etc", "mode": "max"}}
    assert asked.cache(local, dest="/ours") == '"type=local","dest=/ours","mode=max"'
    text = '[{"Type":"registry","Attrs":{"ref":"a"}},{"Type":"inline","Attrs":null}]'
    assert asked.imports({"cache-imports": text}, []) == [
        {"type": "registry", "attrs": {"ref": "a"}},
        {"type": "inline", "attrs": {}},
    ]
    for broken in ("[1]", "{", "[[]]", '[{"Type":"x","Attrs":[]}]' * 2):
        with pytest.raises(InvalidInput):
            asked.imports({"cache-imports": broken}, [])


@pytest.mark.parametrize(
    "attrs",
    [{"dest": "/etc"}, {"Src": "/etc"}, {"type": "local"}, {" TYPE": "local"}, {"type=local,dest": "/x"}],
)
def test_a_cache_is_no_place_of_this_machine(attrs: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        asked.cache({"type": "registry", "attrs": {"ref": "a", **attrs}})


@pytest.mark.parametrize(
    "place", ["/etc", "etc", ".", "file:///etc", "/proc/self/fd/3", "oci-layout:///etc", "-", ""]
)
def test_a_context_is_no_folder_of_this_machine(place: str) -> None:
    for image in (False, True):
        with pytest.raises(InvalidInput):
            builds.elsewhere(place, image=image)
    with pytest.raises(InvalidInput):
        builds.elsewhere("docker-image://x")
    for good in ("https://host/x.tar", "https://host/x.git#main:sub", "git@host:a/b.git"):
        assert builds.elsewhere(good) == good


def test_an_error_has_dockers_words_and_its_place() -> None:
    error = BuildFailed("x", line=2, text="RUN a", status=7, argv=["/bin/sh", "-c", "a"])
    told = failures.told(error, "Dockerfile", "FROM x\nRUN a\n")
    assert told.message == 'process "/bin/sh -c a" did not complete successfully: exit code: 7'
    assert told.details[0]["url"] == failures.SOURCE
    assert b'"line": 2' in told.details[0]["value"]
    long = failures.told(error, "Dockerfile", "FROM x\nRUN a\n" + "# long\n" * 100000)
    assert sum(value == "0" for name, value in long.trailers() if name == "grpc-status") == 0
    assert len(long.details[0]["value"]) < 1 << 15
    inner = failures.told(InvalidInput("Dockerfile:3: no such thing"), "Dockerfile", "a\nb\nc\n")
    assert (inner.message, len(inner.details)) == ("no such thing", 1)


def test_logs_are_clipped() -> None:
    import asyncio

    async def work() -> list[dict[str, object]]:
        progress = status.Progress("r")
        step = {
            "step": "1/2",
            "stage": "stage-0",
            "place": "1/2",
            "instruction": "RUN x",
            "vertex": "[1/2] RUN x",
            "beside": [],
            "status": "running",
        }
        progress(step)
        for _ in range(100):
            progress({**step, "status": "output", "data": bytes(1 << 16)})
        progress.close()
        return [message async for message in progress.listen()]

    told = asyncio.run(work())
    logs = [log["msg"] for message in told for log in message.get("logs", [])]  # type: ignore[attr-defined]
    assert sum(map(len, logs)) < status.LOG + 100
    assert b"clipped" in logs[-1]
    vertexes = [each for message in told for each in message.get("vertexes", [])]  # type: ignore[attr-defined]
    assert [each["name"] for each in vertexes] == ["[1/2] RUN x"] * 2
    assert "completed" in vertexes[-1]


def test_what_is_fetched_is_a_vertex() -> None:
    import asyncio

    async def work() -> list[dict[str, object]]:
        progress = status.Progress("r")
        event = {"fetch": "https://h/r.git", "kind": "git", "current": 0, "total": 0}
        progress({**event, "status": "running"})
        progress({**event, "status": "running", "current": 500})
        progress({**event, "status": "done", "current": 900})
        progress({**event, "fetch": "https://h/f", "kind": "http", "status": "running"})
        progress({**event, "fetch": "https://h/f", "kind": "http", "status": "error", "error": "broke off"})
        progress.close()
        return [message async for message in progress.listen()]

    told = asyncio.run(work())
    statuses = [each for message in told for each in message.get("statuses", [])]  # type: ignore[attr-defined]
    assert [(each["current"], "completed" in each) for each in statuses] == [(500, False), (900, True)]
    vertexes = [each for message in told for each in message.get("vertexes", [])]  # type: ignore[attr-defined]
    assert [(each["name"], each.get("error")) for each in vertexes] == [
        ("[internal] load git source https://h/r.git", None),
        ("[internal] load git source https://h/r.git", ""),
        ("[internal] load https://h/f", None),
        ("[internal] load https://h/f", "broke off"),
    ]


def test_a_repository_is_known_by_its_one_source() -> None:
    def named(*operations: dict[str, object]) -> str:
        return shared.repository({"def": [messages.OP.encode(each) for each in operations]})

    git = {"source": {"identifier": "git://h/r.git#main", "attrs": {"git.fullurl": "https://h/r.git"}}}
    top = {"inputs": [{"digest": "x", "index": 0}]}
    copy = {"file": {"actions": [{"copy": {"src": "/a/b", "dest": "/"}}]}}
    assert named(git, top) == "https://h/r.git#main"
    assert named(git, copy, top) == "https://h/r.git#main:a/b"
    other = {"source": {"identifier": "docker-image://x"}}
    moved = {"file": {"actions": [{"copy": {"src": "/a", "dest": "/b"}}]}}
    made = {"file": {"actions": [{}]}}
    for wrong in (
        (),
        (git,),
        (top,),
        (other, top),
        (git, git, top),
        (git, moved, top),
        (git, made, top),
        (git, {}, top),
    ):
        assert named(*wrong) == ""
    assert shared.repository({"def": [b"\xff"]}) == ""
