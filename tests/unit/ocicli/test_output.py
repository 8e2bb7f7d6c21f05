"""What verbs print."""

import json

from estiva.ocicli import output


def test_pretty():
    value = {"a": [1, {"b": "é"}], "c": {}, "d": [], "e": None}
    assert json.loads(output.pretty(value)) == value
    assert output.pretty(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_timestamp():
    assert output.timestamp(0.5) == "1970-01-01T00:00:00.500000Z"
