"""What is for another platform than was asked for, or than this machine's, is never taken in silence."""

import os
import subprocess

import pytest

from enginekit import IMAGE, host
from estiva.oci.platform import Platform

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HERE = str(Platform.host())
OTHER = "linux/s390x"
NAME = "localhost:5000/one:1"
FOREIGN = "localhost:5000/foreign:1"


def found(name, wanted, actual):
    return f"image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"


HOST = f"the requested image's platform ({OTHER}) does not match the detected host platform ({HERE}) and no specific platform was requested"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        server = made.start(
            "registry", "serve", "--listen", "127.0.0.1:5000", "--root", f"{made.folder}/registry",
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout.readline()
        made.estiva("save", "-o", "box.tar", IMAGE)
        made.estiva("create", "--name", "source", "--network", "none", IMAGE, "true")
        made.estiva("export", "-o", "rootfs.tar", "source")
        made.estiva("rm", "source")
        made.estiva("import", "--platform", OTHER, "-c", 'CMD ["true"]', "rootfs.tar", FOREIGN)
        made.estiva("tag", IMAGE, NAME)
        for name in (NAME, FOREIGN):  # each a single manifest, not an index
            made.estiva("push", name)
        yield made
        server.terminate()
        server.wait(120)
        server.stdout.close()


@pytest.fixture
def gone(box):
    for name in (NAME, FOREIGN):
        box.estiva("rmi", "-f", name, status=None)


@pytest.mark.parametrize("times", [1, 2])
def test_pull_of_a_single_manifest_for_another_platform(box, gone, times):
    for _ in range(times):
        done = box.estiva("pull", "--platform", OTHER, NAME)
        assert done.stderr == f"WARNING: {found(NAME, OTHER, HERE)}\n"
    assert box.estiva("pull", "-q", "--platform", OTHER, NAME).stderr.startswith("WARNING: ")
    assert box.estiva("pull", "--platform", HERE, NAME).stderr == ""
    assert box.estiva("pull", "--platform", OTHER, FOREIGN).stderr == ""


@pytest.mark.parametrize("times", [1, 2])
def test_pull_of_what_is_not_for_this_machine(box, gone, times):
    for _ in range(times):
        assert box.estiva("pull", FOREIGN).stderr == f"WARNING: {HOST}\n"


def test_pull_of_an_index_without_it_fails(box):
    box.estiva("manifest", "create", "localhost:5000/list:1", NAME)
    box.estiva("manifest", "push", "localhost:5000/list:1")
    box.estiva("manifest", "rm", "localhost:5000/list:1")
    done = box.estiva("pull", "--platform", OTHER, "localhost:5000/list:1", status=1)
    assert f"there is no image for {OTHER}" in done.stderr and f"hint: it has {HERE}" in done.stderr


@pytest.mark.parametrize("verb", ["run", "create"])
def test_run_says_which_platform_is_here(box, gone, verb):
    words = [verb, "--network", "none", "--platform", OTHER]
    box.estiva("pull", NAME)
    done = box.estiva(*words, "--pull", "never", NAME, "true", status=1 if verb == "create" else 125)
    assert done.stderr.startswith(f"estiva: {found(NAME, OTHER, HERE)}\nhint: `estiva pull --platform")
    for _ in range(2):  # it is asked of the registry, which has no other
        done = box.estiva(*words, NAME, "true", status=1 if verb == "create" else 125)
        assert f"estiva: {found(NAME, OTHER, HERE)}\n" in done.stderr
    done = box.estiva(*words, "localhost:1/none:1", "true", status=1 if verb == "create" else 125)
    assert done.stderr.startswith("estiva: image localhost:1/none:1 is not here and can't be pulled: ")
    box.estiva("tag", IMAGE, "localhost:1/none:1")
    done = box.estiva(*words, "localhost:1/none:1", "true", status=1 if verb == "create" else 125)
    assert done.stderr.startswith(
        f"estiva: {found('localhost:1/none:1', OTHER, HERE)}, and it can't be pulled: "
    )
    box.estiva("rmi", "localhost:1/none:1")
    assert box.out("ps", "-aq") == ""


def test_run_of_another_platform_s_image_warns(box):
    done = box.estiva("run", "--rm", "--network", "none", FOREIGN)
    assert done.stderr.endswith(f"WARNING: {HOST}\n")
    assert box.estiva("run", "--rm", "--network", "none", "--platform", OTHER, FOREIGN).stderr == ""
    done = box.estiva("create", "--network", "none", FOREIGN)
    assert done.stderr == f"WARNING: {HOST}\n"
    box.estiva("rm", done.stdout.strip())


def test_load_of_another_platform_s(box):
    done = box.estiva("load", "--platform", OTHER, "-i", "box.tar")
    assert done.stderr == f"WARNING: {found(IMAGE, OTHER, HERE)}\n"
    assert box.estiva("load", "--platform", HERE, "-i", "box.tar").stderr == ""


def test_the_python_api_raises(box):
    box.python(f"""
import estiva
assert estiva.pull({NAME!r}, platform={HERE!r}) == estiva.pull({NAME!r})
try:
    estiva.pull({NAME!r}, platform={OTHER!r})
except estiva.EstivaError as error:
    assert str(error) == {found(NAME, OTHER, HERE)!r}, error
else:
    raise SystemExit("nothing was said")
""")
