"""What templates print of whole things: held against Docker 26's own words for what its own `inspect` shows.

docker26-printed.json has its JSON of containers, an image, networks and a volume, and what `inspect --format`
printed, every address as 0xc000000000; docker26-printed-engine.json the same of `info` and `version`.
"""

import json
import pathlib

import pytest

from estiva.cli.format.declared import Duration, Mode, Time, shape
from estiva.cli.format.functions import show
from estiva.cli.format.template import Template
from estiva.cli.inspect import for_template

HERE = pathlib.Path(__file__).parent
KNOWN = json.loads((HERE / "docker26-printed.json").read_text())
ENGINE = json.loads((HERE / "docker26-printed-engine.json").read_text())
CASES = [(entry, template, text) for entry in KNOWN for template, text in entry["printed"].items()]


@pytest.mark.parametrize(("entry", "template", "text"), CASES, ids=lambda value: str(value)[:60])
def test_a_thing_is_printed_as_docker_prints_it(entry, template, text):
    printed = Template(template).render(for_template(entry["kind"], entry["item"]))
    assert printed.rstrip("\n") == text


@pytest.mark.parametrize("entry", ENGINE, ids=lambda entry: entry["kind"])
def test_the_engine_is_printed_as_docker_prints_it(entry):
    made = shape(entry["item"], entry["kind"])
    assert {template: Template(template).render(made) for template in entry["printed"]} == entry["printed"]
    assert json.loads(Template("{{json .}}").render(made)) == entry["item"]


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry["kind"])
def test_json_stays_what_it_was(entry):
    made = for_template(entry["kind"], entry["item"])
    assert Template("{{json .}}").render(made) == json.dumps(
        entry["item"], separators=(",", ":"), ensure_ascii=False
    )


def test_what_docker_does_not_have_is_not_printed_and_can_be_asked_for():
    state = {"Exit": {"meaning": "m"}, "Running": False, "Status": "exited", "ExitCode": 3}
    made = for_template("container", {"State": state})
    assert Template("{{.State}}").render(made) == "{exited false false false false false 0 3    <nil>}"
    assert Template("{{.State.Exit.meaning}} {{json .State}}").render(made) == "m " + json.dumps(
        state, separators=(",", ":")
    )


def test_pointers_show_what_they_point_to_unless_within_another_thing():
    one = {
        "Start": "2026-01-02T03:04:05.600Z",
        "End": "2026-01-02T03:04:05+02:00",
        "ExitCode": 1,
        "Output": "o",
    }
    made = {"Log": shape([one], "[]*HealthcheckResult")}
    assert Template("{{.Log}}").render(made) == "[0xc000000000]"
    assert Template("{{index .Log 0}}{{range .Log}}{{.ExitCode}}{{end}}").render(made) == (
        "{2026-01-02 03:04:05.6 +0000 UTC 2026-01-02 03:04:05 +0200 +0200 1 o}1"
    )
    assert Template("{{range .Log}}{{print .}}{{end}}").render(made).startswith("&{2026-01-02")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Duration(0), "0s"),
        (Duration(1), "1ns"),
        (Duration(1500), "1.5µs"),
        (Duration(20 * 10**6), "20ms"),
        (Duration(15 * 10**8), "1.5s"),
        (Duration(-90 * 10**9), "-1m30s"),
        (Duration(3600 * 10**9), "1h0m0s"),
        (Mode(0o755), "-rwxr-xr-x"),
        (Mode(0), "----------"),
        (Time("0001-01-01T00:00:00Z"), "0001-01-01 00:00:00 +0000 UTC"),
        (Time(""), ""),
    ],
)
def test_values_that_print_otherwise_than_in_json(value, text):
    assert show(value) == text
    assert json.loads(json.dumps(value)) == value
