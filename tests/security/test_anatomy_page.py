"""`anatomy serve`: another user of the machine can connect, and does not know the token."""

import subprocess
import threading
import urllib.parse

import pytest

from enginekit import host

FLOOD = """
import socket, sys, urllib.request
url, address = sys.argv[1], (sys.argv[2], int(sys.argv[3]))
held = []
for number in range(400):
    held.append(socket.create_connection(address, timeout=20))
    if number % 2: held[-1].send(b"GET / HTTP/1.1\\r\\nX: ")
print(urllib.request.urlopen(url + "list", timeout=60).status)
def open_still(one):
    one.setblocking(False)
    try: return bool(one.recv(1))
    except BlockingIOError: return True
    except OSError: return False
print(sum(map(open_still, held)) < 200)
"""


@pytest.fixture
def box():
    with host() as made:
        yield made


def test_who_only_connects_takes_no_place_from_who_may_ask(box):
    child = box.start(
        "anatomy",
        "serve",
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(120, child.kill)
    timer.start()
    try:
        url = child.stdout.readline().split()[1]
        place = urllib.parse.urlsplit(url)
        words = ["python3", "-c", FLOOD, url, place.hostname, str(place.port)]
        done = subprocess.run([*box.prefix, *words], capture_output=True, text=True, timeout=100)
        assert done.stdout == "200\nTrue\n", done.stderr
        assert child.poll() is None
    finally:
        timer.cancel()
        child.terminate()
        child.wait(30)
        child.stdout.close()
