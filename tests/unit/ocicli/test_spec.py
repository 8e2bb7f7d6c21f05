"""The config of `spec`."""

import pytest

from estiva.ocicli import spec
from estiva.runtime.bundle import bundle


@pytest.mark.parametrize("rootless", [False, True])
def test_the_example_is_a_valid_config(rootless):
    bundle.check(spec.example(rootless))
