"""Builds on the real store: every instruction, the cache, stages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva.builder.frontend.errors import BuildFailed, DockerfileError
from estiva.errors import EstivaError


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def test_run_and_config(lab: Lab) -> None:
    image = lab.build(
        """
FROM box
MAINTAINER someone
ARG who=world
ENV GREETING="hello $who" X=1
LABEL a=b "c d"='e f'
WORKDIR /work/$X
RUN echo "$GREETING from $(pwd), $who" > out && chmod 600 out
EXPOSE 80 53/udp 8000-8001
VOLUME /data "/more"
USER user:extra
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --retries=2 CMD test -f /x
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT echo $HOME
CMD ["a", "b"]
ONBUILD RUN echo later
"""
    )
    assert lab.read(image, "/work/1/out") == "hello world from /work/1, world\n"
    assert lab.mode(image, "/work/1/out") == "0600 0:0"
    config = image.config["config"]
    assert config["Env"] == ["PATH=/bin", "GREETING=hello world", "X=1"]
    assert config["Labels"] == {"a": "b", "c d": "e f"}
    assert config["WorkingDir"] == "/work/1"
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp", "8000/tcp", "8001/tcp"}
    assert set(config["Volumes"]) == {"/data", "/more"}
    assert (config["User"], config["StopSignal"]) == ("user:extra", "SIGQUIT")
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "test -f /x"], "Interval": 5 * 10**9, "Retries": 2}
    assert config["Shell"] == ["/bin/sh", "-ec"]
    assert config["Entrypoint"] == ["/bin/sh", "-ec", "echo $HOME"]
    assert config["Cmd"] == ["a", "b"]
    assert config["OnBuild"] == ["RUN echo later"]
    assert image.config["author"] == "someone"
    history = image.config["history"]
    assert [step["created_by"] for step in history][:8] == [
        "box",
        "MAINTAINER someone",
        "ARG who=world",
        "ENV GREETING=hello world X=1",
        "LABEL a=b c d=e f",
        "WORKDIR /work/1",
        'RUN |1 who=world /bin/sh -c echo "$GREETING from $(pwd), $who" > out && chmod 600 out # buildkit',
        "EXPOSE [53/udp 80/tcp 8000/tcp 8001/tcp]",
    ]
    assert len([step for step in history if not step.get("empty_layer")]) == len(image.diff_ids) == 3


def test_unchanged_is_the_same_image(lab: Lab) -> None:
    lab.write(a="one", b="two")
    text = "FROM box\nCOPY a /a\nENV X=1\nRUN cat /a > /c\nWORKDIR /w\nCOPY b /b\nLABEL z=1\nCMD true\n"
    first = lab.build(text)
    assert set(lab.statuses().values()) == {"done"}
    again = lab.build(text)
    assert again.id == first.id
    assert [lab.statuses()[name] for name in ("COPY a /a", "RUN cat /a > /c", "WORKDIR /w", "COPY b /b")] == [
        "cached"
    ] * 4
    assert lab.steps == []
    other = lab.build(text, no_cache=True)
    assert len(lab.steps) == 1 and other.id != first.id


def test_what_misses_the_cache(lab: Lab) -> None:
    lab.write(a="one", b="two")
    text = "FROM box\nCOPY a b /d/\nARG v=1\nCOPY a /e\nRUN echo $v > /v\n"
    first = lab.build(text)
    (lab.context / "a").touch()
    assert lab.build(text).id == first.id
    lab.build(text, build_args={"v": "2"})
    assert lab.statuses()["COPY a /e"] == "cached" and lab.statuses()["RUN echo $v > /v"] == "done"
    (lab.context / "b").chmod(0o755)
    lab.build(text)
    assert lab.statuses()["COPY a b /d/"] == "done"
    lab.put("b", "TWO")
    changed = lab.build(text)
    assert lab.statuses()["COPY a b /d/"] == "done" and lab.read(changed, "/d/b") == "TWO"
    lab.put("unrelated", "x")
    assert lab.build(text).id == changed.id
    lab.build(text, no_cache_filter=["stage-0"])
    assert lab.statuses()["COPY a /e"] == "done"


def test_labels_and_args_do_not_rerun(lab: Lab) -> None:
    lab.build("FROM box\nLABEL v=1\nRUN echo x > /x\n")
    image = lab.build("FROM box\nLABEL v=2\nRUN echo x > /x\n", labels={"given": "yes"})
    assert lab.statuses()["RUN echo x > /x"] == "cached"
    assert image.config["config"]["Labels"] == {"v": "2", "given": "yes"}


def test_stages(lab: Lab) -> None:
    text = """
ARG BASE=box
FROM $BASE AS build
ARG flavour=plain
ENV KEEP=1
RUN mkdir /out && echo built > /out/app && chown 1000:1001 /out/app
FROM box AS unused
RUN false
FROM scratch AS files
COPY --from=build /out/ /opt/
FROM build AS child
RUN echo "$flavour $KEEP" > /inherited
FROM scratch
COPY --from=0 /out/app /app
COPY --from=files /opt/app /second
COPY --from=child /inherited /inherited
COPY --from=box /etc/passwd /passwd
"""
    image = lab.build(text)
    assert lab.read(image, "/app") == "built\n"
    assert lab.mode(image, "/second") == "0644 1000:1001"
    assert lab.read(image, "/inherited") == "plain 1\n"
    assert lab.names(image, "/") == ["app", "inherited", "passwd", "second"]
    assert "RUN false" not in lab.statuses()
    assert lab.events[-1]["step"] == "13/13"
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert image.config["config"] == {"Env": [path], "WorkingDir": "/"}
    target = lab.build(text, target="child")
    assert lab.names(target, "/out") == ["app"]
    with pytest.raises(EstivaError, match="exit status 1"):
        lab.build(text, target="unused")


def test_the_same_stage_output_hits_the_cache(lab: Lab) -> None:
    lab.build("FROM box AS b\nRUN echo 1 > /f; echo $$ > /tmp/x\nFROM scratch\nCOPY --from=b /f /f\n")
    lab.build("FROM box AS b\nRUN echo 1 > /f\nFROM scratch\nCOPY --from=b /f /f\n")
    assert lab.statuses()["COPY --from=b /f /f"] == "cached"


def test_entrypoint_resets_the_inherited_cmd(lab: Lab) -> None:
    assert "Cmd" not in lab.build('FROM box\nENTRYPOINT ["x"]\n').config["config"]
    config = lab.build('FROM box\nCMD ["c"]\nENTRYPOINT ["x"]\n').config["config"]
    assert (config["Cmd"], config["Entrypoint"]) == (["c"], ["x"])


def test_the_later_of_env_and_arg_wins_and_one_snapshot_per_instruction(lab: Lab) -> None:
    image = lab.build(
        "FROM box\nENV a=env\nARG a=arg\nENV a=new b=$a\nRUN echo $a $b > /f\n", build_args={"a": "given"}
    )
    assert lab.read(image, "/f") == "new given\n"


def test_arg_scope(lab: Lab) -> None:
    text = """
ARG global=g
FROM box AS one
ARG only=1
RUN echo "[$global]" > /f
FROM box
ARG global
RUN echo "[$global][$only][$TARGETARCH]" > /g
ARG TARGETARCH
RUN echo "[$TARGETARCH]" > /h
COPY --from=one /f /f
"""
    image = lab.build(text)
    assert lab.read(image, "/f") == "[]\n"
    assert lab.read(image, "/g") == "[g][][]\n"
    assert lab.read(image, "/h") == f"[{image.config['architecture']}]\n"
    assert lab.read(lab.build(text, build_args={"global": "G"}), "/g") == "[G][][]\n"


def test_proxy_arguments_leave_no_trace(lab: Lab) -> None:
    text = "FROM box\nRUN echo ${HTTP_PROXY:+set} > /f\n"
    first = lab.build(text, build_args={"HTTP_PROXY": "http://secret:1"})
    assert lab.read(first, "/f") == "set\n"
    assert "secret" not in first.text
    assert lab.build(text, build_args={"HTTP_PROXY": "http://other:2"}).id == first.id
    assert lab.warnings() == []


def test_unused_build_argument_is_told(lab: Lab) -> None:
    lab.build("FROM box\n", build_args={"nobody": "1"})
    assert lab.warnings() == ["build argument nobody is not used"]


def test_failing_run_names_the_line(lab: Lab) -> None:
    with pytest.raises(BuildFailed) as caught:
        lab.build("FROM box\n\nRUN echo out; \\\n  exit 3\n")
    assert caught.value.message == "Dockerfile:3: RUN echo out; exit 3: exit status 3"
    assert (caught.value.line, caught.value.status) == (3, 3)
    assert lab.output() == "out\n"
    assert lab.events[-1]["status"] == "error"


def test_onbuild_triggers_run_once_in_the_child(lab: Lab) -> None:
    lab.write(f="context")
    base = lab.build(
        "FROM box\nONBUILD ARG n=1\nONBUILD COPY f /f\nONBUILD RUN echo $n > /n\n"
        "ONBUILD COPY <<E /e\nhi $n\nE\n"
    )
    lab.store.images.tag(base.id, "base")
    child = lab.build("FROM base\nRUN cat /f\n", build_args={"n": "2"})
    assert (lab.read(child, "/f"), lab.read(child, "/n"), lab.read(child, "/e")) == (
        "context",
        "2\n",
        "hi 2\n",
    )
    assert "OnBuild" not in child.config["config"]
    assert lab.warnings() == []


def test_heredocs(lab: Lab) -> None:
    image = lab.build(
        """
FROM box
ENV who=me
RUN <<EOF
echo $who > /a
echo two >> /a
EOF
RUN cat <<-E > /b && cat <<F >> /b
\tone $who
\tE
two
F
RUN <<script
#!/bin/cat
printed, not run
script
COPY <<one <<'two' /docs/
"$who" \\$who
one
$who
two
"""
    )
    assert lab.read(image, "/a") == "me\ntwo\n"
    assert lab.read(image, "/b") == "one me\ntwo\n"
    assert "printed, not run" in lab.output()
    assert lab.read(image, "/docs/one") == '"me" $who\n'
    assert lab.read(image, "/docs/two") == "$who\n"
    assert lab.mode(image, "/docs/two") == "0644 0:0"


def test_source_date_epoch_makes_the_same_image_again(lab: Lab) -> None:
    lab.write(d__f="x")
    text = "FROM box\nCOPY d /d\nRUN echo 1 > /etc/new; mkdir /q\nWORKDIR /w/x\nCOPY <<E /e\nhi\nE\n"
    first = lab.build(text, build_args={"SOURCE_DATE_EPOCH": "1000"}, no_cache=True)
    second = lab.build(text, source_date_epoch=1000, no_cache=True)
    assert first.id == second.id
    paths = ("/d/f", "/etc/new", "/etc", "/q", "/w/x", "/e")
    assert {int(lab.stat(first, path).st_mtime) for path in paths} == {1000}
    assert first.config["created"] == "1970-01-01T00:16:40Z"


def test_platforms(lab: Lab) -> None:
    lab.image("arm", {}, architecture="arm64")
    with pytest.raises(DockerfileError, match="is for linux/arm64/v8, not for linux/amd64") as caught:
        lab.build("FROM --platform=linux/amd64 arm\n")
    assert caught.value.line == 1
    lab.build("FROM --platform=linux/arm64 arm\n")
    assert lab.resolved[-1] == ("arm", "linux/arm64", False)
    lab.build("FROM --platform=$BUILDPLATFORM box\n", pull=True)
    assert lab.resolved[-1][2] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM box\nEXPOSE 99999\n", "Dockerfile:2: invalid port"),
        ("FROM box\nSTOPSIGNAL NOPE\n", "Dockerfile:2: invalid signal"),
        ("FROM box\nRUN --security=insecure x\n", "Dockerfile:2: RUN --security=insecure is not allowed"),
        ("FROM box\nCOPY https://example.com/x.git /x\n", "Dockerfile:2: COPY can't take a git repository"),
        ("FROM box\nCOPY http://x/y /x\n", "Dockerfile:2: COPY can't take a URL"),
        ('FROM box\nENV a="${b?not given}"\n', "Dockerfile:2: can't expand"),
        ("FROM nothing-here\n", "Dockerfile:1: "),
        (
            "FROM box AS a\nFROM 100000000\n",
            "Dockerfile:2: 100000000 is no stage, and the image of that name: ",
        ),
        ("FROM 700000000\n", "Dockerfile:1: 700000000 is no stage, and the image of that name: "),
        ("FROM box\nWORKDIR /etc/passwd/x\n", "Dockerfile:2: can't use the path"),
    ],
)
def test_errors_name_the_line(lab: Lab, text: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        lab.build(text)
    assert message in caught.value.message


def test_dockerfile_is_found_in_the_context(lab: Lab) -> None:
    lab.put("Containerfile", "FROM box\nCMD c\n")
    assert lab.build(None).config["config"]["Cmd"][-1] == "c"
    lab.put("Dockerfile", "FROM box\nCOPY . /x/\n")
    lab.put(".dockerignore", "Dockerfile\n.dockerignore\n")
    lab.put("sub/My.df", "FROM box\nCOPY . /x/\n")
    assert lab.names(lab.build(None), "/x") == ["Containerfile", "sub"]
    lab.put("sub/My.df.dockerignore", "sub\n")
    image = lab.build(None, dockerfile=str(lab.context / "sub/My.df"))
    assert lab.names(image, "/x") == [".dockerignore", "Containerfile", "Dockerfile"]


def test_from_scratch_alone(lab: Lab) -> None:
    image = lab.build("FROM scratch\nLABEL a=b\n", context=None)
    assert image.diff_ids == [] and image.config["config"]["Labels"] == {"a": "b"}


def test_named_contexts(lab: Lab) -> None:
    lab.put("other/f", "named")
    text = "FROM start\nCOPY --from=extra f /f\n"
    contexts = {"start": "docker-image://box", "extra": str(lab.context / "other")}
    assert lab.read(lab.build(text, build_contexts=contexts, context=None), "/f") == "named"


def test_a_killed_step_leaves_nothing(lab: Lab) -> None:
    def interrupted(step: object) -> int:
        raise KeyboardInterrupt

    lab.run_step = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        lab.build("FROM box\nRUN x\n")
