"""What modules of the cold path know by heart, against those that know it for sure."""

from estiva.engine.spec import defaults, fields, namespaces, oci_config
from estiva.linux import process


def test_every_limit_of_the_kernel_has_its_name():
    assert {name.upper() for name in defaults.ULIMITS} == set(process.RLIMITS)


def test_what_is_loaded_only_when_it_is_asked_for():
    modes = {key for _, key, _, _, _ in namespaces.KINDS} - {"NetworkMode"}
    assert modes | {"IDMappings", "SubuidName", "SubgidName"} == defaults.MODES
    assert set(defaults.RESOURCES) <= set(fields.HOST)
    assert oci_config.resources({})["pids"] == oci_config.resources({"Memory": 64 << 20})["pids"]
