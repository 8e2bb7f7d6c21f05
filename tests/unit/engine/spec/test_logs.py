"""Log drivers and options: what is judged, and what a monitor is told."""

import pathlib
import re

import pytest

from estiva.engine.spec.logs import options as logs
from estiva.errors import InvalidInput, Unavailable


def record(driver="json-file", **options):
    config = {key.replace("_", "-"): value for key, value in options.items()}
    return {
        "Id": "abcdef012345" + "6" * 52,
        "Name": "/web",
        "Image": "sha256:" + "1" * 64,
        "Config": {
            "Image": "alpine:3",
            "Labels": {"tier": "front", "team": "blue"},
            "Env": ["A=1", "AB=2", "C"],
        },
        "HostConfig": {"LogConfig": {"Type": driver, "Config": config}},
    }


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("nosuch", {}, "no log driver named 'nosuch' is registered"),
        ("none", {"max-size": "1m"}, "invalid logging opts for driver none"),
        ("json-file", {"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ("local", {"tag": "x"}, "unknown log opt 'tag' for local log driver"),
        ("json-file", {"syslog-format": "rfc3164"}, "unknown log opt 'syslog-format' for json-file"),
        ("json-file", {"max-size": "big"}, "log option max-size: 'big'"),
        ("json-file", {"max-size": "0"}, "log option max-size: '0'"),
        ("json-file", {"max-size": "-5"}, "log option max-size: '-5'"),
        ("json-file", {"max-file": "0"}, "log option max-file: '0'"),
        ("json-file", {"max-file": "1" * 5000}, "log option max-file"),
        ("local", {"compress": "perhaps"}, "log option compress: 'perhaps'"),
        ("json-file", {"compress": "true", "max-file": "1"}, "compress cannot be true"),
        ("json-file", {"compress": "true", "max-file": "3", "max-size": "-1"}, "compress cannot be true"),
        ("json-file", {"mode": "sideways"}, "logging mode not supported: sideways"),
        ("json-file", {"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"),
        ("json-file", {"labels-regex": "("}, "log option labels-regex: '('"),
        ("json-file", {"tag": "{{.Nope}}"}, "invalid log option tag"),
        ("json-file", {"tag": "{{.ID"}, "invalid log option tag"),
        ("syslog", {"syslog-facility": "kitchen"}, "invalid syslog facility 'kitchen'"),
        ("syslog", {"syslog-facility": "24"}, "invalid syslog facility '24'"),
        ("syslog", {"syslog-format": "rfc1"}, "invalid syslog format 'rfc1'"),
        *(
            ("syslog", {"syslog-address": text}, "invalid syslog-address")
            for text in ("host", "ftp://h", "udp://", "udp://h:0", "udp://h:99999", "unix://rel", "udp://[::1",
                         "tcp://h/x", "unixgram:///" + "x" * 200)
        ),
    ],
)  # fmt: skip
def test_refused(driver, options, message):
    with pytest.raises(InvalidInput) as caught:
        logs.check({"Type": driver, "Config": options})
    assert message in caught.value.message and len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("unix", "", 0)),
        ("udp://10.0.0.1", ("udp", "10.0.0.1", 514)),
        ("tcp://log.example.org:6514", ("tcp", "log.example.org", 6514)),
        ("udp://[fd00::1]:99", ("udp", "fd00::1", 99)),
        ("udp://[fd00::1]", ("udp", "fd00::1", 514)),
        ("unix:///dev/log", ("unix", "/dev/log", 0)),
        ("unixgram:///run/x", ("unixgram", "/run/x", 0)),
    ],
)
def test_addresses(text, expected):
    assert logs.address(text) == expected


@pytest.mark.parametrize(
    ("driver", "options", "expected"),
    [
        ("json-file", {}, {}),  # the default of 3 files of 20 MB
        ("json-file", {"max_size": "10m"}, {"size": 10_000_000, "keep": 1, "compress": False}),
        ("json-file", {"max_size": "1k", "max_file": "7"}, {"size": 1000, "keep": 7, "compress": False}),
        ("json-file", {"max_file": "2"}, {"size": 20 << 20, "keep": 2, "compress": False}),
        ("json-file", {"max_size": "-1"}, {"size": 0, "keep": 1, "compress": False}),
        ("local", {}, {"size": 20 << 20, "keep": 5, "compress": True}),
        ("local", {"max_size": "1m", "compress": "false"}, {"size": 1_000_000, "keep": 5, "compress": False}),
    ],
)
def test_files(driver, options, expected):
    made = record(driver, **options)
    logs.check(made["HostConfig"]["LogConfig"])
    assert logs.plan(made) == (True, expected, None)


def test_attributes_of_entries():
    made = record(
        labels="tier,nosuch", labels_regex="^te", env="C,A", env_regex="^AB$", tag="{{.Name}}.{{ .ID }}"
    )
    logs.check(made["HostConfig"]["LogConfig"])
    kept = logs.plan(made)[1]
    assert kept["attrs"] == (
        '"attrs":{"tier":"front","team":"blue","C":"","A":"1","AB":"2","tag":"web.abcdef012345"},'
    )


def test_none_keeps_nothing():
    assert logs.plan(record("none")) == (False, {}, None)


def test_journald():
    kept, files, outlet = logs.plan(record("journald", labels="tier", env="A"))
    assert kept and files["compress"]
    assert outlet["fields"] == {
        "CONTAINER_ID": "abcdef012345", "CONTAINER_ID_FULL": "abcdef012345" + "6" * 52, "CONTAINER_NAME": "web",
        "CONTAINER_TAG": "abcdef012345", "SYSLOG_IDENTIFIER": "abcdef012345", "IMAGE_NAME": "alpine:3",
        "TIER": "front", "A": "1",
    }  # fmt: skip
    assert logs.plan(record("journald", cache_disabled="true"))[0] is False
    assert logs.field_name("com.example/my-label é") == "COM_EXAMPLE_MY_LABEL__"
    assert logs.field_name("__") == "X"  # what begins with one is the journal's own


def test_syslog():
    outlet = logs.plan(record("syslog", syslog_address="udp://127.0.0.1:99", syslog_facility="local3", mode="non-blocking",
                              max_buffer_size="4k"))[2]  # fmt: skip
    assert (outlet["facility"], outlet["address"], outlet["format"]) == (19, ("udp", "127.0.0.1", 99), "")
    assert (outlet["drops"], outlet["size"], outlet["tag"]) == (True, 4096, "abcdef012345")
    with pytest.raises(Unavailable, match="failed to initialize logging driver: nosuch.invalid"):
        logs.plan(record("syslog", syslog_address="udp://nosuch.invalid"))


def test_the_documentation_names_every_driver_and_option():
    page = (pathlib.Path(__file__).parents[4] / "docs/cli.md").read_text()
    offered = re.search(r"^- `--log-driver` takes (.*);", page, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", offered[1]) == list(logs.OPTIONS)
    section = page.partition("\n### Log drivers\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| `([a-z][a-z-]*)` \|", section, re.MULTILINE) == list(logs.OPTIONS)
    named = {word.partition("=")[0] for word in re.findall(r"`([a-z-]+(?:=[^`]*)?)`", section)}
    assert frozenset().union(*logs.OPTIONS.values()) - named == set()
    assert "`logs --details` shows them" in section
