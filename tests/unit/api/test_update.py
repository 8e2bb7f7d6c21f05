"""The body of an update: what stays, what changes, what is refused or told."""

from typing import Any

import pytest

from estiva.api.containers.update import wanted


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({}, {}),
        ({"Memory": 0, "CpusetCpus": "", "Devices": None, "OomKillDisable": False}, {}),
        ({"Memory": 5, "cpushares": 6}, {"Memory": 5, "CpuShares": 6}),
        ({"PidsLimit": 0}, {"PidsLimit": -1}),
        ({"PidsLimit": None}, {}),
        ({"PidsLimit": "x"}, {"PidsLimit": "x"}),  # whoever judges it refuses it
        ({"RestartPolicy": {"Name": "", "MaximumRetryCount": 0}}, {}),
        ({"RestartPolicy": {"Name": "always"}}, {"RestartPolicy": {"Name": "always"}}),
        ({"Ulimits": [{"Name": "nofile"}]}, {"Ulimits": [{"Name": "nofile"}]}),  # that can't be changed
    ],
)
def test_what_is_to_be_changed(body: dict[str, Any], changes: dict[str, Any]) -> None:
    assert wanted(body, (1, 45)) == (changes, [])


def test_what_has_no_effect_is_told() -> None:
    assert wanted({"Foo": 1}, (1, 45)) == ({}, ["Foo is not known and has no effect"])
    assert wanted({"KernelMemory": 5}, (1, 45)) == ({}, ["KernelMemory is ignored since API 1.42"])
    assert wanted({"KernelMemory": 5}, (1, 41)) == ({"KernelMemory": 5}, [])
    assert wanted({"PidsLimit": 5}, (1, 39)) == ({}, [])
