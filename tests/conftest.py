"""What holds for all tests: those of the erofs driver run where this machine can mount such a layer."""

import collections
import functools
import gc
import os
import signal
import sys
import tempfile
import time

import pytest
from hypothesis import HealthCheck, settings

from estiva.linux import namespace

# A slow machine breaks no rule, and each run tries the same examples.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("patient")

for variable in ("LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE"):  # sentences are compared in English
    os.environ.pop(variable, None)
os.environ["LC_ALL"] = "C.UTF-8"

# in the order of what they take, from `./test --durations=0`
LONG = (
    "docker_cli compose node_clients many snapshots full_disk networks installed health oci_engines kill_images"
    " reset reservations settings"
    " program_aio_boxes kill_runs build_cache repair untrusted_next untrusted_network dns_resolver program_aio"
    " mcp_client attach program_ends restart program_types firewall_flushed damaged_alone kill_builds"
    " stopped_writer userns mount_walls layers_random anatomy_page state_permissions registry_roundtrip"
    " own_binary layers_ingest cp_walls build_bounds cp update quickload cli_verbs build_one_look"
    " damaged_state docs_run run_mounts docker_habits process_walls build_fetch names volumes bad_input"
    " program_hard while_made typing program untrusted filters checkpoint layers_contract hints"
)

pytest_plugins = ["bundle"]  # imported before any test module does, so that its assertions tell what they saw


def can_mount_erofs():
    from estiva.store.layers.drivers import erofs

    with tempfile.TemporaryDirectory(prefix="estiva-probe-") as folder:
        return bool(erofs.probe(folder))


def alone(clone3):
    """clone3 for a process with threads, which xdist's workers are: none may be waiting for the GIL, or the
    child would wait for that thread to take it (estiva.linux.namespace.fork)."""

    @functools.wraps(clone3)
    def wrapped(*words, **options):
        interval = sys.getswitchinterval()
        sys.setswitchinterval(3600)
        time.sleep(0.001)  # those that wait take it now
        try:
            return clone3(*words, **options)
        finally:
            sys.setswitchinterval(interval)

    return wrapped


def pytest_configure(config):
    namespace.clone3 = alone(namespace.clone3)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a shell's background job: children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PYTHONUNBUFFERED"] = "1"  # programs that tests read line by line, or kill
    config.addinivalue_line("markers", "erofs: needs the erofs driver, as do tests with a parameter `erofs`")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Thousands of tests are there to stay: no collection of garbage, by tests or in forks of this process, looks
    at them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def wants_erofs(item):
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return "erofs" in parameters.values() or item.get_closest_marker("erofs")


def longest_first(items):
    """Files that take long begin first, so that none is left to one worker at the end: those known to, then
    those with most tests. (`./test` turns off what xdist would make of the order.)"""
    count = collections.Counter(item.path for item in items)
    known = {f"test_{name}.py": place for place, name in enumerate(LONG.split())}
    items.sort(key=lambda item: (known.get(item.path.name, len(known)), -count[item.path]))


def pytest_collection_modifyitems(items):
    longest_first(items)
    wanting = [item for item in items if wants_erofs(item)]
    if wanting and os.geteuid() == 0 and not can_mount_erofs():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="the erofs driver needs Linux 6.12, and a disk"))
