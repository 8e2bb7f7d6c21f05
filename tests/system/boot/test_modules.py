"""boot/modules.py is what cold starts load, no more and no less: real ones, recorded anew."""

import importlib.util
import os
import pathlib

import pytest

from estiva.boot.modules import MODULES

CHECKOUT = pathlib.Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_the_list_is_what_cold_starts_load():
    spec = importlib.util.spec_from_file_location("record_modules", CHECKOUT / "tools/record_modules.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    recorded = tool.record()
    assert set(recorded) == set(MODULES)
    for program, names in recorded.items():
        missing, idle = set(names) - set(MODULES[program]), set(MODULES[program]) - set(names)
        assert not missing and not idle, f"{program}: run tools/record_modules.py; {missing=} {idle=}"
    assert tool.LIST.read_text() == tool.text(MODULES)
