"""`anatomy serve`: who may see it, and that a browser shows what is there, as text."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.parse

import pytest

from enginekit import IMAGE, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
EVIL = "<img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def page(box):
    """(HOST:PORT, token) of a page, with a container that has tags in its command line."""
    box.estiva(
        "run",
        "-d",
        "--explain",
        "--name",
        "web",
        "--network",
        "none",
        "-m",
        "64m",
        IMAGE,
        "sh",
        "-c",
        "sleep 1000; true",
        EVIL,
    )
    child = box.start("anatomy", "serve", stdout=subprocess.PIPE, text=True)
    url = child.stdout.readline().split()[1]
    yield urllib.parse.urlsplit(url).netloc, url.rstrip("/").rpartition("/")[2]
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    child.stdout.close()
    box.estiva("rm", "-f", "web")


def ask(box, page, path="", method="GET", token=None, **headers):
    """(status, headers, body), asked from inside of the host's network namespace."""
    address, known = page
    words = ["curl", "-si", "--max-time", "20", "-X", method]
    for name, value in headers.items():
        words += ["-H", f"{name.replace('_', '-')}: {value}"]
    url = f"http://{address}/{known if token is None else token}/{path}"
    done = subprocess.run([*box.prefix, *words, url], capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, body


def test_who_knows_the_address_sees_it(box, page):
    status, fields, body = ask(box, page)
    assert status == 200 and b"<script>" in body and b"http://" not in body and b"https://" not in body
    policy = fields["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert fields["referrer-policy"] == "no-referrer" and fields["x-content-type-options"] == "nosniff"
    assert fields["cache-control"] == "no-store"
    listed = json.loads(ask(box, page, "list")[2])
    assert [each["name"] for each in listed["containers"]] == ["web"] and listed["images"][0]["name"] == IMAGE
    found = json.loads(ask(box, page, "anatomy?of=web")[2])
    assert found["anatomy"]["name"] == "web" and found["sections"][0]["title"] == "container web (running)"
    steps = json.loads(ask(box, page, "start?of=web")[2])["steps"]
    assert any(each["text"] == "change the root" for each in steps)


@pytest.mark.parametrize(
    ("path", "how", "status"),
    [
        ("", {"token": "x"}, 404),
        ("list", {"token": ""}, 404),
        ("list", {"token": "%2e%2e"}, 404),
        ("", {"Host": "evil.example"}, 421),
        ("list", {"Host": "127.0.0.1"}, 421),
        ("list", {"Host": "localhost.evil.example"}, 421),
        ("list", {"Origin": "http://evil.example"}, 403),
        ("list", {"Origin": "null"}, 403),
        ("list", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("events?of=web", {"Sec_Fetch_Site": "same-site"}, 403),
        ("list", {"method": "POST"}, 405),
        ("list", {"method": "OPTIONS"}, 405),
        ("anatomy", {}, 400),
        ("anatomy?of=" + "x" * 301, {}, 400),
        ("anatomy?of=nobody-here", {}, 404),
        ("start?of=nobody-here", {}, 404),
        ("../etc/passwd", {}, 404),
        ("page.html", {}, 404),
    ],
)  # fmt: skip
def test_everybody_and_everything_else_is_refused(box, page, path, how, status):
    got, fields, body = ask(box, page, path, **how)
    assert got == status, body
    assert fields["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in fields
    assert page[1].encode() not in body


def test_a_stream_tells_until_the_container_goes(box, page):
    box.estiva("run", "-d", "--name", "brief", "--network", "none", IMAGE, "sleep", "1000")
    url = f"http://{page[0]}/{page[1]}/events?of=brief"
    child = subprocess.Popen(
        [*box.prefix, "curl", "-sN", "--max-time", "60", url], stdout=subprocess.PIPE, text=True
    )
    events = []
    with contextlib.closing(child.stdout):
        for line in child.stdout:
            if line.startswith("event: "):
                events.append(line.split()[1])
                if len(events) == 2:
                    box.estiva("rm", "-f", "brief")
    assert events[:2] == ["anatomy", "anatomy"] and events[-1] == "gone"
    assert child.wait() == 0


def test_streams_are_bounded_and_a_client_that_reads_nothing_harms_nobody(box, page):
    url = f"http://{page[0]}/{page[1]}/events?of=web"
    many = [
        subprocess.Popen([*box.prefix, "curl", "-sN", "--max-time", "60", url], stdout=subprocess.PIPE)
        for _ in range(33)
    ]
    try:
        for each in many:
            each.stdout.read(10)
        assert ask(box, page, "events?of=web")[0] == 503
        assert ask(box, page, "anatomy?of=web")[0] == 200
    finally:
        for each in many:
            each.kill()
            each.wait()
            each.stdout.close()


def test_only_on_loopback(box):
    for listen in ("0.0.0.0:0", "10.0.0.1:80", "[::]:0", "example.org:80", "127.0.0.1:99999", "x"):
        done = box.estiva("anatomy", "serve", "--listen", listen, status=1)
        assert done.stderr.startswith("estiva: invalid --listen")
    assert "--listen is for" in box.estiva("anatomy", "--listen", "127.0.0.1:1", IMAGE, status=1).stderr
    assert "--json is not for" in box.estiva("anatomy", "serve", "--json", status=1).stderr


class Browser:
    """Chromium, without a window, driven over two pipes: the DevTools protocol."""

    def __init__(self, prefix, folder):
        to_read, self.out = os.pipe()
        self.back, to_write = os.pipe()

        def pipes():
            os.dup2(to_read, 200)
            os.dup2(to_write, 201)
            os.dup2(200, 3)
            os.dup2(201, 4)

        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions"]
        words += ["--remote-debugging-pipe", f"--user-data-dir={folder}"]
        null = subprocess.DEVNULL
        self.child = subprocess.Popen(
            [*prefix, *words], preexec_fn=pipes, close_fds=False, stdin=null, stdout=null, stderr=null
        )
        os.close(to_read)
        os.close(to_write)
        self.answers = os.fdopen(self.back, "rb")
        self.number, self.session, self.problems = 0, None, []

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            data = b""
            while not data.endswith(b"\0"):
                piece = self.answers.read(1)
                assert piece, "the browser has gone"
                data += piece
            answer = json.loads(data[:-1])
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(answer["params"])
            if answer.get("id") == self.number:
                return answer["result"]

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Page.navigate", url=url)

    def value(self, code):
        return self.call("Runtime.evaluate", expression=code)["result"].get("value")

    def close(self):
        self.child.kill()
        self.child.wait()
        self.answers.close()
        os.close(self.out)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_in_a_browser(box, page, tmp_path):
    browser = Browser(box.prefix, tmp_path)
    try:
        browser.open(f"http://{page[0]}/{page[1]}/")
        eventually(
            lambda: browser.value("document.getElementById('title').textContent") == "container web (running)"
        )
        eventually(lambda: not browser.value("document.getElementById('replay').hidden"))
        text = browser.value("document.body.innerText")
        assert EVIL in text and browser.value("document.images.length") == 0
        assert browser.value("document.title") == "Estiva: anatomy"
        assert browser.value("document.querySelectorAll('progress').length") >= 2
        shown = "document.querySelectorAll('#lanes li:not([hidden])').length"
        assert browser.value(shown) == 1
        browser.value("document.getElementById('next').click()")
        assert browser.value(shown) == 2
        browser.value(
            "const at = document.getElementById('at'); at.value = at.max; at.dispatchEvent(new Event('input'))"
        )
        assert browser.value(shown) > 100
        lanes = browser.value(
            "[...document.querySelectorAll('#lanes ol')].map(lane => lane.childElementCount).join()"
        )
        assert all(int(count) > 5 for count in lanes.split(","))
        # what is live changes without loading anything again
        box.estiva("exec", "-d", "web", "sleep", "4321")
        eventually(lambda: "sleep 4321 (came by exec)" in browser.value("document.body.innerText"))
        # what is not its own is not run: the policy holds
        browser.value(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 2'}))"
        )
        assert browser.value("document.title") == "Estiva: anatomy"
        assert any("Content Security Policy" in str(each) for each in browser.problems)
        assert not any("exceptionDetails" in each for each in browser.problems), browser.problems
    finally:
        browser.close()
