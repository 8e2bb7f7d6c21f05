"""RUN --mount, --network and --security, and what must not stay in the layer."""

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
        ("type=bind,source=none,target=/x", "no none in the build context to mount"),
        ("type=cache,target=/x,from=box", "a cache mount with from or source is not supported"),
        ("type=ssh,required", "ssh agent default is required"),
        ("type=bind,from=later,target=/x", "can't copy from stage later"),
    ],
)
def test_errors_name_the_line(lab: Lab, mount: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(f"FROM box\nRUN --mount={mount} true\nFROM box AS later\n", target="0")
    assert caught.value.message.startswith("Dockerfile:2: ")
    assert message in caught.value.message
