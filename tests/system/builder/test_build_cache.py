"""--cache-to and --cache-from: what one machine built, another need not run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import re
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host

TEXT = f"""
FROM {IMAGE} AS tools
RUN mkdir /opt && echo tool > /opt/tool && touch /only-here
FROM {IMAGE}
RUN echo one > /one
COPY --from=tools /opt /opt
RUN cat /opt/tool /one > /out
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def other(box: Host) -> Iterator[Host]:
    """Another machine with the same base image, in the same network."""
    with host() as made:
        if (
            len({each.out("inspect", "-f", "{{.Id}}", IMAGE) for each in (box, made)}) > 1
        ):  # one was imported anew
            archive = f"{box.folder}/base.tar"
            box.estiva("save", "-o", archive, IMAGE)
            made.estiva("rmi", "-f", IMAGE)
            made.estiva("load", "-i", archive)
        made.prefix = box.prefix
        yield made


@pytest.fixture(scope="module")
def registry(box: Host) -> Iterator[str]:
    serving = box.start(
        "registry",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--root",
        f"{box.folder}/registry",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    found = re.search(r"127\.0\.0\.1:\d+", serving.stdout.readline())
    assert found is not None
    yield found[0]
    serving.terminate()
    serving.wait(60)
    serving.stdout.close()


@pytest.fixture
def context(tmp_path: pathlib.Path) -> str:
    (tmp_path / "Dockerfile").write_text(TEXT)
    return str(tmp_path)


def build(box: Host, *words: str, status: int = 0) -> str:
    """What a build without network tells."""
    return str(box.estiva("build", "--network", "none", *words, status=status).stderr)


def ran(said: str) -> int:
    """How many of TEXT's four steps were run."""
    return 4 - said.count("CACHED")


def test_a_registry_s_cache_of_all_steps(box: Host, other: Host, registry: str, context: str) -> None:
    build(box, "--cache-to", f"type=registry,ref={registry}/c/max,mode=max", "-t", "mine", context)
    said = build(other, "--cache-from", f"{registry}/c/max", "-t", "theirs", context)
    assert ran(said) == 0, said
    mine, theirs = (
        each.out("inspect", "-f", "{{.RootFS.Layers}}", name)
        for each, name in ((box, "mine"), (other, "theirs"))
    )
    assert mine == theirs
    assert other.out("run", "--rm", "--network", "none", "theirs", "cat", "/out") == "tool\none"
    assert ran(build(other, context)) == 0, "what came is kept here"
    assert registry not in other.out("images", "-a")


def test_a_folder_s_cache_of_what_is_in_the_image(
    box: Host, other: Host, tmp_path: pathlib.Path, context: str
) -> None:
    place = tmp_path / "cache"
    build(box, "--cache-to", f"type=local,dest={place}", context)
    said = build(other, "--cache-from", f"type=local,src={place}", context)
    assert ran(said) == 0, said
    assert ran(build(other, context)) == 0, "what came is kept here"


def test_an_image_that_is_its_own_cache(box: Host, other: Host, registry: str, context: str) -> None:
    name = f"{registry}/app:1"
    build(box, "--cache-to", "type=inline", "-t", name, context)
    box.estiva("push", name)
    assert ran(build(other, "--cache-from", name, context)) == 0
    child = pathlib.Path(context, "child")
    child.write_text(f"FROM {name}\nLABEL a=b\n")
    build(box, "-t", "child", "-f", str(child), context)
    box.estiva("save", "-o", f"{context}/child.tar", "child")
    assert b"buildcache" not in pathlib.Path(context, "child.tar").read_bytes()
    plain = build(box, "--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", name + "2", context)
    assert "not used" not in plain
    box.estiva("push", name + "2")
    assert ran(build(other, "--no-cache", "--cache-from", name + "2", context)) == 4


def test_what_has_changed_runs(box: Host, other: Host, tmp_path: pathlib.Path, context: str) -> None:
    place = tmp_path / "cache"
    build(box, "--cache-to", f"type=local,dest={place},mode=max", context)
    pathlib.Path(context, "Dockerfile").write_text(TEXT.replace("echo one", "echo two"))
    said = build(other, "--cache-from", f"type=local,src={place}", "-t", "changed", context)
    assert said.count("CACHED") == 1
    assert other.out("run", "--rm", "--network", "none", "changed", "cat", "/out") == "tool\ntwo"


def test_a_cache_that_can_t_be_had_is_told(
    box: Host, registry: str, tmp_path: pathlib.Path, context: str
) -> None:
    pathlib.Path(context, "Dockerfile").write_text(TEXT + "RUN echo new > /new\n")
    said = build(
        box, "--cache-from", f"{registry}/none", "--cache-from", f"type=local,src={tmp_path}/none", context
    )
    assert f"warning: no cache from {registry}/none" in said
    assert f"warning: no cache from {tmp_path}/none: no such folder" in said
    refused = build(box, "--cache-to", "type=registry,ref=127.0.0.1:1/x", context, status=1)
    assert "writing the cache 127.0.0.1:1/x failed" in refused
    told = build(box, "--cache-to", "type=registry,ref=127.0.0.1:1/x,ignore-error=true", context)
    assert "warning: the cache 127.0.0.1:1/x was not written" in told


STAGES = f"""
FROM {IMAGE} AS first
COPY source /source
RUN --mount=type=cache,target=/c cat /source > /one && date +%N > /when
FROM first AS second
ARG GREETING=hello
RUN echo $GREETING > /two
FROM {IMAGE} AS third
RUN --mount=from=second,target=/from cat /from/two > /three
FROM {IMAGE}
COPY --from=first /one /
COPY --from=third /three /
RUN cat /one /three > /out
"""


def test_stages_that_are_in_no_cache_are_built_when_they_are_read_from(
    box: Host, other: Host, tmp_path: pathlib.Path
) -> None:
    """The key of a step tells what the stage is to become, and that of all that goes into it."""
    place, context = f"{tmp_path}/cache", tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(STAGES)
    (context / "source").write_text("old\n")
    build(box, "--cache-to", f"type=local,dest={place}", str(context))

    def ran_of(*words: str) -> list[str]:
        """The RUNs and COPYs that were not found."""
        said = build(other, "--cache-from", f"type=local,src={place}", "-t", "made", *words, str(context))
        found = set(re.findall(r"^(#[0-9]+) CACHED", said, re.M))
        steps = re.findall(r"^(#[0-9]+) \[(\S+) [^]]*\] (RUN|COPY)", said, re.M)
        assert len(steps) == 7, said
        return [f"{stage} {name}" for number, stage, name in steps if number not in found]

    def out() -> str:
        return str(other.out("run", "--rm", "--network", "none", "made", "cat", "/out"))

    assert ran_of() == [] and out() == "old\nhello"
    pathlib.Path(context, "Dockerfile").write_text(STAGES.replace("RUN cat /one", "RUN cat /one /one"))
    assert ran_of() == ["stage-3 RUN"] and out() == "old\nold\nhello", "only what is read is built"
    pathlib.Path(context, "Dockerfile").write_text(STAGES)
    assert sorted(ran_of("--build-arg", "GREETING=bye")) == [
        "first COPY",
        "first RUN",
        "second RUN",
        "stage-3 COPY",
        "stage-3 RUN",
        "third RUN",
    ]
    assert out() == "old\nbye"
    assert "second RUN" in ran_of("--no-cache-filter", "second") and out() == "old\nhello"
    (context / "source").write_text("new\n")
    assert "first RUN" in ran_of() and out() == "new\nhello"


def test_the_base_of_a_stage_that_is_not_built_is_not_pulled(
    box: Host, other: Host, registry: str, tmp_path: pathlib.Path
) -> None:
    base, cache = f"{registry}/base:1", f"{tmp_path}/cache"
    box.estiva("tag", IMAGE, base)
    box.estiva("push", base)
    text = f"FROM {base} AS tools\nCOPY --from={base} /etc/passwd /theirs\nRUN date +%N > /made\n"
    text += f"FROM {IMAGE}\nCOPY --from=tools /made /\n"
    (tmp_path / "Dockerfile").write_text(text)
    build(box, "--cache-to", f"type=local,dest={cache}", str(tmp_path))
    box.estiva("rmi", base)
    said = build(other, "--cache-from", f"type=local,src={cache}", str(tmp_path))
    assert said.count("CACHED") == 3, said
    assert registry not in other.out("images", "-a")


@pytest.mark.parametrize(
    "word",
    ["type=gha", "type=registry", "type=odd,ref=x", "type=local,dest=x,mode=all", "type=inline,a=b", "a=b"],
)
def test_words_that_mean_nothing_are_refused(box: Host, context: str, word: str) -> None:
    said = box.estiva("build", "--cache-to", word, context, status=None)
    assert said.returncode in (1, 125) and "--cache-to" in said.stderr and "Traceback" not in said.stderr


def test_a_cache_that_lies_is_no_layer_of_ours(
    box: Host, other: Host, tmp_path: pathlib.Path, context: str
) -> None:
    """A layer that is not what the config says is not taken; a field that is damaged is told."""
    place = tmp_path / "cache"
    build(box, "--cache-to", f"type=local,dest={place},mode=max", context)
    blobs = sorted((place / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    manifest = next(json.loads(path.read_bytes()) for path in blobs if b'"layers"' in path.read_bytes())
    for each in manifest["layers"]:
        layer = place / "blobs/sha256" / each["digest"].partition(":")[2]
        layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    said = build(other, "--cache-from", f"type=local,src={place}", context, status=1)
    assert "Traceback" not in said and "sha256" in said
    build(other, "-t", "honest", context)
    assert other.out("run", "--rm", "--network", "none", "honest", "cat", "/out") == "tool\none"


def _forge(folder: pathlib.Path, change: object) -> None:
    """Have `change` alter the records of a cache in a layout folder."""
    index = json.loads((folder / "index.json").read_text())
    blobs = folder / "blobs/sha256"

    def put(document: object) -> dict[str, object]:
        data = json.dumps(document).encode()
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
    assert callable(change)
    change(config["io.estiva.buildcache.v1"]["records"])
    manifest["config"].update(put(config))
    index["manifests"][0].update(put(manifest))
    (folder / "index.json").write_text(json.dumps(index))


def test_a_forged_cache_gives_nothing_to_builds_that_do_not_name_it(
    box: Host, other: Host, tmp_path: pathlib.Path
) -> None:
    """Its records may have keys of steps, and of finished images, that were not looked up in it."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder, text in ((mine, "mine"), (theirs, "theirs")):
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo {text} > /{text}\n")
    cache = tmp_path / "cache"
    build(box, "--cache-to", f"type=local,dest={cache}", str(mine))
    build(box, "-t", "theirs", str(theirs))
    with contextlib.closing(sqlite3.connect(f"{box.folder}/root/estiva.db")) as db:
        keys = [key for (key,) in db.execute("SELECT key FROM build_cache")]
    assert len([key for key in keys if key.startswith("image:")]) >= 2
    _forge(cache, lambda records: records[0].update(by="\x1b[31mred", keys=keys))
    said = build(other, "--cache-from", f"type=local,src={cache}", "-t", "mine", str(mine))
    assert said.count("CACHED") == 1
    assert "CACHED" not in build(other, "-t", "theirs", str(theirs))
    assert other.estiva("run", "--rm", "--network", "none", "theirs", "cat", "/theirs").stdout == "theirs\n"
    assert "red" not in other.estiva("builder", "du").stdout


@pytest.mark.parametrize("created", ["never", "2026-01-01\x1b00:00:00", "9" * 70])
def test_a_time_in_a_cache_that_is_none(
    box: Host, other: Host, context: str, tmp_path: pathlib.Path, created: str
) -> None:
    cache = tmp_path / "cache"
    build(box, "--cache-to", f"type=local,dest={cache}", context)
    _forge(cache, lambda records: records[0].update(created=created))
    said = build(other, "--cache-from", f"type=local,src={cache}", context)
    assert "the cache is damaged" in said and ran(said) == 4


# -- of several platforms

PLATFORMS = "linux/amd64,linux/arm64"
EACH = f"""
FROM --platform=$BUILDPLATFORM {IMAGE} AS common
RUN echo common > /common
ARG TARGETARCH
RUN cat /common > /mine && echo $TARGETARCH >> /mine
FROM scratch
COPY --from=common /common /mine /
COPY Dockerfile /
"""


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("kind", ["registry", "local"])
def test_one_cache_of_all_platforms(
    box: Host, other: Host, registry: str, tmp_path: pathlib.Path, kind: str, mode: str
) -> None:
    """A step that they have in common is in it once, and each finds its own."""
    (tmp_path / "Dockerfile").write_text(EACH)
    ref = f"{registry}/several/{mode}"
    to = f"type=registry,ref={ref}" if kind == "registry" else f"type=local,dest={tmp_path}/cache"
    since = to.replace("dest=", "src=")
    build(box, "--platform", PLATFORMS, "--cache-to", f"{to},mode={mode}", str(tmp_path))
    out = str(tmp_path / "out")
    said = build(other, "--platform", PLATFORMS, "--cache-from", since, "-o", out, str(tmp_path))
    assert "warning" not in said
    # `min` has the layers of the images alone; the stage that they are copied from need not be built for them
    assert said.count("CACHED") == 8, said
    for arch in ("amd64", "arm64"):
        assert (tmp_path / f"out/linux_{arch}/mine").read_text() == f"common\n{arch}\n"
    alone = build(
        other, "--no-cache-filter", "none", "--platform", "linux/arm64", "--cache-from", since, str(tmp_path)
    )
    assert alone.count("CACHED") == 4, alone


def test_images_of_several_platforms_that_are_their_own_caches(
    box: Host, other: Host, registry: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "Dockerfile").write_text(EACH)
    name = f"{registry}/several/inline:1"
    build(box, "--platform", PLATFORMS, "--cache-to", "type=inline", "--push", "-t", name, str(tmp_path))
    said = build(other, "--platform", PLATFORMS, "--cache-from", name, str(tmp_path))
    assert said.count("CACHED") == 8, said
