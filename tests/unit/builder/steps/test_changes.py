"""Dockerfile instructions on an image's config, as `commit --change` and `import --change` give them."""

import pytest

from estiva.builder.steps.changes import apply_changes
from estiva.errors import InvalidInput


def test_changes():
    base = {"config": {"Env": ["A=1", "B=2"], "WorkingDir": "/srv", "Labels": {"x": "1"}}}
    made = apply_changes(
        base,
        [
            'CMD ["a", "b c"]',
            "entrypoint run it",
            "ENV A=3 C='4 5'",
            "ENV D the rest",
            'LABEL y="2 3"',
            "EXPOSE 80 53/udp 9000-9001",
            'VOLUME ["/a", "/b c"]',
            "WORKDIR app/../lib",
            "USER 5:6",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ],
    )["config"]
    assert base["config"]["Env"] == ["A=1", "B=2"]
    assert made["Cmd"] == ["a", "b c"]
    assert made["Entrypoint"] == ["/bin/sh", "-c", "run it"]
    assert made["Env"] == ["A=3", "B=2", "C=4 5", "D=the rest"]
    assert made["Labels"] == {"x": "1", "y": "2 3"}
    assert set(made["ExposedPorts"]) == {"80/tcp", "53/udp", "9000/tcp", "9001/tcp"}
    assert set(made["Volumes"]) == {"/a", "/b c"}
    assert made["WorkingDir"] == "/srv/lib"
    assert (made["User"], made["StopSignal"], made["OnBuild"]) == ("5:6", "SIGINT", ["RUN x"])
    assert made["Healthcheck"] == {
        "Interval": 90 * 10**9,
        "Retries": 2,
        "Test": ["CMD-SHELL", "curl -f localhost"],
    }
    made = apply_changes({}, ["HEALTHCHECK NONE"])["config"]
    assert made["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    "change",
    [
        "RUN x",
        "FROM a",
        "",
        "CMD",
        "ENV A",
        "ENV A=b c",
        "ENV A='b",
        "EXPOSE x",
        "EXPOSE 80/icmp",
        "EXPOSE 70000",
        "EXPOSE 90-80",
        "HEALTHCHECK curl",
        "HEALTHCHECK --every=1s CMD x",
        "HEALTHCHECK --interval=soon CMD x",
        "ONBUILD FROM x",
        "SHELL ['/bin/sh']",
        "MAINTAINER me",
        "ENV A=1\nRUN x",
        "STOPSIGNAL SIGNOPE",
    ],
)
def test_refuses_changes(change):
    with pytest.raises(InvalidInput):
        apply_changes({}, [change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "'RUN' can't be used in a change"),
        ("ENV A", "the change 'ENV A': ENV must have two arguments"),
        ("EXPOSE 70000", "invalid port: '70000'"),
    ],
)
def test_errors_name_the_change(change, message):
    with pytest.raises(InvalidInput) as caught:
        apply_changes({}, [change])
    assert caught.value.message == message


def test_changes_mean_what_they_mean_in_a_dockerfile():
    base = {"config": {"Env": ["HOME=/root"], "Cmd": ["old"], "Shell": ["/bin/sh", "-e"]}, "history": []}
    made = apply_changes(base, ["WORKDIR $HOME/x", 'ENTRYPOINT ["a"]', "USER $HOME", "LABEL a=$HOME"])
    assert made["config"] == {
        "Env": ["HOME=/root"],
        "Shell": ["/bin/sh", "-e"],
        "WorkingDir": "/root/x",
        "Entrypoint": ["a"],
        "User": "/root",
        "Labels": {"a": "/root"},
    }
    assert made["history"] == []
    made = apply_changes(base, ["CMD new", "ENTRYPOINT run"])["config"]
    assert (made["Cmd"], made["Entrypoint"]) == (["/bin/sh", "-e", "new"], ["/bin/sh", "-e", "run"])
