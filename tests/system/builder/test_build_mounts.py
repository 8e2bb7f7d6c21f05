"""RUN --mount, --network and --security, and what must not stay in the layer."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva.builder.files import frozen
from estiva.builder.files.cache_mounts import CacheMounts, Wanted
from estiva.builder.frontend.run_mounts import Mount
from estiva.builder.request import Step
from estiva.errors import EstivaError, InvalidInput


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def test_bind_from_the_context(lab: Lab) -> None:
    lab.write(src__f="text")
    text = "FROM box\nRUN --mount=target=/in --mount=source=src/f,target=/one cat /in/src/f /one > /out\n"
    first = lab.build(text)
    assert lab.read(first, "/out") == "texttext"
    assert lab.names(first, "/") == ["bin", "etc", "out", "root", "tmp"]
    assert lab.build(text).id == first.id
    lab.write(src__f="other")
    assert lab.read(lab.build(text), "/out") == "otherother"


def test_bind_is_read_only_or_its_writes_are_lost(lab: Lab) -> None:
    lab.write(f="kept")
    text = "FROM box\nRUN --mount=target=/in,rw echo changed > /in/f; cat /in/f > /out\n"
    assert lab.read(lab.build(text), "/out") == "changed\n"
    assert (lab.context / "f").read_text() == "kept"
    with pytest.raises(EstivaError, match="exit status 1"):
        lab.build("FROM box\nRUN --mount=target=/in echo changed > /in/f\n")
    assert (lab.context / "f").read_text() == "kept"


def test_bind_does_not_show_ignored_files(lab: Lab) -> None:
    lab.write(a="", b="", _dot_dockerignore="b\n.dockerignore\n")
    assert lab.read(lab.build("FROM box\nRUN --mount=target=/in ls /in > /out\n"), "/out") == "a\n"


def test_bind_from_a_stage(lab: Lab) -> None:
    image = lab.build(
        """
FROM box AS tools
RUN mkdir -p /opt/t && echo tool > /opt/t/run
FROM box
RUN --mount=from=tools,source=/opt/t,target=/t cat /t/run > /out
RUN --mount=type=bind,from=box,source=/etc/passwd,target=/p test -s /p
"""
    )
    assert lab.read(image, "/out") == "tool\n"
    assert "t" not in lab.names(image, "/")


def test_cache_mount_survives_builds_and_is_in_no_layer(lab: Lab) -> None:
    text = "FROM box\nRUN --mount=type=cache,target=/c,sharing={} echo x >> /c/n; cat /c/n > /out # {}\n"
    assert lab.read(lab.build(text.format("shared", 1)), "/out") == "x\n"
    image = lab.build(text.format("locked", 2))
    assert lab.read(image, "/out") == "x\nx\n"
    assert lab.names(image, "/") == ["bin", "etc", "out", "root", "tmp"]
    assert lab.read(lab.build(text.format("private", 3)), "/out") == "x\nx\nx\n"
    other = lab.build(
        "FROM box\nRUN --mount=type=cache,target=/c,id=../../x,mode=0700,uid=5 "
        "busybox stat -c '%a %u' /c > /out\n"
    )
    assert lab.read(other, "/out") == "700 5\n"


def test_cache_mount_begins_with_files_of_a_stage(lab: Lab) -> None:
    """As docker has it: owner and mode are the source's, what is asked for counts for an empty one only."""
    text = """
FROM box AS seed
RUN mkdir -p /d/sub && echo one > /d/a && busybox ln /d/a /d/b && busybox ln -s /etc/passwd /d/l \
  && echo two > /d/sub/f && chmod 710 /d && chown 5:6 /d
FROM box
"""
    run = "RUN --mount=type=cache,from=seed,id=i,target=/c{} ({}) > /out\n"

    def said(more: str, command: str) -> str:
        return lab.read(lab.build(text + run.format(more, command)), "/out")

    first = said(
        ",source=/d",
        "busybox stat -c '%a %u:%g' /c && ls /c /c/sub && busybox readlink /c/l && echo x > /c/new",
    )
    assert first == "710 5:6\n/c:\na\nb\nl\nsub\n\n/c/sub:\nf\n/etc/passwd\n"
    assert said(",source=d/./,uid=9,mode=0700", "busybox stat -c '%a %u' /c && cat /c/new") == "710 5\nx\n"
    assert said(",source=/d/sub", "ls /c") == "f\n"
    assert said(",source=/d/sub/f", "cat /c && echo three > /c") == "two\n"
    assert said(",source=/d/sub/f,ro", "cat /c; echo 4 > /c || true") == "three\n"
    assert said(",uid=9", "busybox stat -c %u /c && ls /c") == "9\n"
    assert said("", "ls /c") == "bin\nd\netc\nroot\ntmp\n"
    assert lab.read(lab.build("FROM box\nRUN --mount=type=cache,id=i,target=/c ls /c > /out\n"), "/out") == ""
    changed = text.replace("echo one", "echo ONE") + run.format(",source=/d", "cat /c/a; test ! -e /c/new")
    assert lab.read(lab.build(changed), "/out") == "ONE\n"  # another base is another cache


def test_cache_mount_begins_with_files_of_a_context(lab: Lab) -> None:
    lab.put("../other/f", "first")
    text = "FROM box\nRUN --mount=type=cache,from=other,target=/c cat /c/f > /out; echo changed > /c/f\n"
    contexts = {"build_contexts": {"other": str(lab.context / "../other")}}
    image = lab.build(text, **contexts)
    assert lab.read(image, "/out") == "first"
    assert lab.build(text, **contexts).id == image.id and lab.steps == []  # what is in the cache is in no key
    lab.put("../other/f", "second")
    assert lab.read(lab.build(text, **contexts), "/out") == "second"


def test_cache_mounts_that_wait(lab: Lab) -> None:
    """Who wants one alone waits for the others, as long as the build goes on; private ones never wait."""
    base = lab.folder + "/mounts"
    said: list[str] = []

    def taken(*ids: str, sharing: str = "shared") -> CacheMounts:
        wanted = [Wanted(Mount("cache", id=name, sharing=sharing), None) for name in ids]
        return CacheMounts(wanted, base, lambda: tempfile.mkdtemp(dir=lab.folder), look, said.append)

    def look() -> None:
        if said:
            raise InvalidInput("stopped")

    one, two = taken("a", "b", "a"), taken("b")
    assert one.paths[0] == one.paths[2] != one.paths[1] == two.paths[0]
    with pytest.raises(InvalidInput, match="stopped"):
        taken("b", sharing="locked")
    assert said == ["b"]
    said.clear()
    other = taken("b", sharing="private")
    assert other.paths == [two.paths[0] + ".1"]
    other.close()
    one.close()
    two.close()
    alone = taken("b", "b", "c", sharing="locked")
    assert alone.paths[0] == alone.paths[1]
    with pytest.raises(InvalidInput):
        taken("c")
    alone.close()
    assert taken("c", sharing="private").paths == [alone.paths[2]]


def test_cache_mounts_that_met(lab: Lab) -> None:
    """Whether others could have got an open file of one that ends, by however many hands."""
    base = lab.folder + "/mounts"

    def taken(name: str, sharing: str) -> CacheMounts:
        wanted = [Wanted(Mount("cache", id=name, sharing=sharing), None)]
        return CacheMounts(wanted, base, lambda: tempfile.mkdtemp(dir=lab.folder), lambda: None, print)

    for sharing, met in (("shared", True), ("locked", False), ("private", False)):
        one, two = taken("a", sharing), taken("b", "shared")
        one.close()
        two.close()
        assert (one.met, two.met) == (met, False)


def test_tmpfs(lab: Lab) -> None:
    image = lab.build("FROM box\nRUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/f\n")
    assert "t" not in lab.names(image, "/")
    assert "size=1048576" in lab.steps[0].mounts[0]["options"]


def test_secrets(lab: Lab) -> None:
    secret = lab.put("../token", "hunter2")
    text = """
FROM box
RUN --mount=type=secret,id=token,mode=0440,uid=7 busybox stat -c '%a %u' /run/secrets/token > /out; \
  test "$(cat /run/secrets/token)" = hunter2
RUN --mount=type=secret,id=token,env=TOKEN test "$TOKEN" = hunter2
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
"""
    image = lab.build(text, secrets={"token": str(secret)})
    assert lab.read(image, "/out") == "440 7\n"
    assert "run" not in lab.names(image, "/")
    assert lab.build(text, secrets={"token": b"another"}).id == image.id
    with pytest.raises(EstivaError, match="Dockerfile:2: secret x is required"):
        lab.build("FROM box\nRUN --mount=type=secret,id=x,required true\n")


@pytest.mark.parametrize("what", ["secret,id=s,target=/m", "cache,target=/m"])
def test_owner_and_mode_of_a_mount_are_what_a_step_was_made_of(lab: Lab, what: str) -> None:
    """The command sees them (K20)."""
    seen = []
    for more in ("uid=3,mode=0440", "uid=4,mode=0440", "uid=4,mode=0400"):
        line = f"RUN --mount=type={what},{more} busybox stat -c '%u %a' /m > /out"
        image = lab.build(f"FROM box\n{line}\n", secrets={"s": b"x"})
        seen.append(lab.read(image, "/out"))
    assert seen == ["3 440\n", "4 440\n", "4 400\n"]


def test_a_secret_is_in_memory_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nowhere in the store or run root while it is used; on an older kernel in a file that goes with the step."""
    seen: list[bytes] = []
    run = lab.run_step

    def looking(step: Step) -> int:
        found = subprocess.run(["grep", "-rl", "hunter2", lab.folder], capture_output=True).stdout
        seen.append(found.replace(str(lab.context).encode(), b""))
        return run(step)

    monkeypatch.setattr(lab, "run_step", looking)
    text = "FROM box\nRUN --mount=type=secret,id=t,mode=06755,target=a/b,env= test ${#t} = 7 && " + (
        "test $(cat /a/b) = $t && busybox stat -c %a /a/b > /out && ! echo x > /a/b\n"
    )
    image = lab.build(text, secrets={"t": b"hunter2"})
    assert lab.read(image, "/out") == "755\n" and "a" not in lab.names(image, "/")
    monkeypatch.setattr(frozen, "in_memory", lambda *_: -1)
    assert lab.build(text, secrets={"t": b"hunter2"}, no_cache=True).diff_ids
    assert seen[0] == b"" or not kernel_clones()
    assert seen[1].count(b"\n") == 1 and b"/run/build/" in seen[1]


def kernel_clones() -> bool:
    fd = frozen.in_memory(b"", 0o400, 0, 0)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def test_network_and_security(lab: Lab) -> None:
    lab.build("FROM box\nRUN true\nRUN --network=none true 2\n", network="host")
    assert [step.network for step in lab.steps] == ["host", "none"]
    lab.build("FROM box\nRUN --security=insecure true\n", allow=["security.insecure"])
    assert lab.steps[0].privileged


def test_environment(lab: Lab) -> None:
    lab.image("bare", {})
    lab.build("FROM bare\nARG a=1\nARG unset\nENV b=$a\nUSER user\nRUN true\n")
    step = lab.steps[0]
    assert set(step.env) == {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "a=1",
        "b=1",
    }
    assert (step.user, step.cwd) == ("user", "/")


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("type=bind,source=none,target=/x", "no 'none' in the build context to mount"),
        ("type=cache,target=/x,source=/y", "a cache mount with source needs a from"),
        ("type=cache,target=/x,from=box,source=/y", "no '/y' in box to mount"),
        ("type=ssh,required", "ssh agent default is required"),
        ("type=bind,from=later,target=/x", "can't copy from stage later"),
    ],
)
def test_errors_name_the_line(lab: Lab, mount: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(f"FROM box\nRUN --mount={mount} true\nFROM box AS later\n", target="0")
    assert caught.value.message.startswith("Dockerfile:2: ")
    assert message in caught.value.message
