"""The newcomer's way: ./quickstart from end to end, and the Python examples of the documentation."""

import os
import pathlib
import re
import subprocess
import sysconfig

import pytest

from enginekit import Host

CHECKOUT = pathlib.Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def machine():
    made = Host()
    try:
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


@pytest.fixture(scope="module")
def told(machine):
    """What ./quickstart prints, in a network namespace that leads nowhere."""
    done = subprocess.run(
        [*machine.prefix, CHECKOUT / "quickstart"],
        env={**machine.env, "ESTIVA_BASE": "from-host"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        cwd="/",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    images = machine.out("images", "--format", "{{.Repository}}:{{.Tag}}")
    machine.left = machine.out("ps", "-aq"), images, machine.out("system", "check")
    return done.stdout


def part(told, start):
    """The lines below the heading that begins with `start`."""
    found = [text for text in told.split("\n== ") if text.startswith(start)]
    assert len(found) == 1, (start, told)
    return found[0]


def test_an_unchanged_build_gives_the_same_image(told):
    ids = re.findall(r"^sha256:[0-9a-f]{64}$", part(told, "Build"), re.MULTILINE)
    assert len(ids) == 2 and ids[0] == ids[1]


def test_shows_the_container_from_inside(told):
    text = part(told, "Run it")
    for line in (
        r"pid +1",
        r"hostname +[0-9a-f]{12}",
        r"user +uid=65534\(nobody\)",
        r"address +10\.\d+\.\d+\.\d+",
        r"memory +67108864 bytes",
        r"cpu +50000 of 100000 microseconds",
        r"pids +32 processes",
    ):
        assert re.search(rf"^  {line}", text, re.MULTILINE), (line, text)


def test_what_it_writes_vanishes_with_the_container(told):
    text = part(told, "What a container writes")
    assert "\nA /app/scratch.txt\n" in text
    before, after = text.split("$ estiva rm ")
    assert "\nscratch.txt\n" in before and "scratch.txt" not in after


def test_goes_to_a_registry_and_comes_back(told):
    text = part(told, "Remove it here")
    assert text.count(": Already exists\n") == 1  # the base image's layer
    assert text.count(": Done\n") >= 3  # the image's own came over the wire again
    assert re.search(r"^\$ estiva run .*hello@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert "Hello from a container" in text.rpartition("$ estiva run")[2]


def test_cleans_up(told, machine):
    assert machine.left == ("", "base:host", "all is well")


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_the_python_examples_do_what_they_say(told, machine, page):
    blocks = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / page).read_text(), re.DOTALL | re.MULTILINE)
    if page == "docs/python.md":
        library = sysconfig.get_path("stdlib")
        machine.estiva("image", "from-host", "--tag", "python:host", "-f", library, "/usr/bin/python3")
    code = "\n".join(blocks).replace("/var/lib/other", "other").replace("/run/other", "other-run")
    assert machine.python(f"import tempfile; tempfile.tempdir = {machine.folder!r}\n{code}")
