"""What a server loads, and when."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from estiva.api.listening import routes

API = pathlib.Path(routes.__file__).parents[1]
SRC = str(API.parents[1])


def modules():
    """Those of the API that say what they answer."""
    for path in sorted(API.rglob("*.py")):
        if "\nROUTES" in path.read_text():
            yield ".".join(path.relative_to(API).with_suffix("").parts)


def test_the_table_is_whole():
    assert set(routes.TABLE) == set(modules())
    for name, words in routes.TABLE.items():
        found = importlib.import_module(f"estiva.api.{name}").ROUTES
        assert tuple(f"{method} {path}" for method, path, _ in found) == words, name


def run(code):
    words = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {SRC!r})\n{code}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_server_starts_without_what_nobody_has_asked_for():
    code = "from estiva.api.listening import library; library.install()\nfrom estiva.api import server, app\n"
    code += "app.Api(None).application()\nprint(*sys.modules)"
    loaded = set(run(code))
    assert "aiohttp.web" in loaded
    assert not loaded & {"aiohttp.client", "estiva.api.swarm", "estiva.builder", "estiva.api.containers.exec"}


@pytest.mark.parametrize(
    "code",
    [
        "import aiohttp; assert issubclass(aiohttp.ClientError, Exception) and aiohttp.ClientSession",
        "from aiohttp import ClientSession, hdrs; import aiohttp; assert aiohttp.client.ClientSession",
        "import aiohttp; assert aiohttp.hdrs and aiohttp.ClientTimeout and type(aiohttp).__name__ == 'module'",
        "import aiohttp; assert not hasattr(aiohttp, 'nothing') and aiohttp.ClientSession",
    ],
)
def test_the_librarys_client_is_there_when_it_is_wanted(code):
    told = run(
        "from estiva.api.listening import library; library.install()\nimport aiohttp\nlight = aiohttp.__version__"
        f"\nfrom aiohttp import web\n{code}\nassert light == aiohttp.__version__, light\nprint('fine')"
    )
    assert told == ["fine"]


def test_threads_load_the_rest_of_the_library_once():
    code = """
import threading
from estiva.api.listening import library
library.install()
from aiohttp import web
import aiohttp
found, start = [], threading.Barrier(8)
def one():
    start.wait()
    found.append(aiohttp.ClientSession)
threads = [threading.Thread(target=one) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), len(set(found)))
"""
    assert run(code) == ["8", "1"]
