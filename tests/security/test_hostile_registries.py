"""Registries that lie, through the command line: one line, and nothing of what they sent stays (K10, K12, K13)."""

import base64
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile

import pytest

from enginekit import IMAGE, host
from statekit import one_line, state

PORT = 5002
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

# Answers from a table: path -> [status, headers, body]; {} is a registry's "yes" to /v2/.
SERVER = """
import base64, http.server, json, socketserver, sys
routes = json.load(open(sys.argv[1]))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        status, headers, body = routes.get(self.path) or routes.get(self.command) or [404, {}, ""]
        if status == 0:
            self.close_connection = True
            return self.connection.close()
        body = base64.b64decode(body)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if headers.get("Content-Length") not in (None, str(len(body))):
            self.close_connection = True
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer
    def log_message(self, *words): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(*names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"hello"))
    return buffer.getvalue()


class Table:
    def __init__(self):
        self.routes = {"/v2/": [200, {}, ""]}

    def put(self, path, body, kind="application/octet-stream", status=200, **headers):
        self.routes[path] = [status, {"Content-Type": kind, **headers}, base64.b64encode(body).decode()]

    def image(self, name, tar, *, blob=None, config=None, manifest=None, kind=MANIFEST, sent=None):
        """An image whose parts are as given, or as they should be."""
        blob = gzip.compress(tar, mtime=0) if blob is None else blob
        config = (
            config
            or json.dumps(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
                }
            ).encode()
        )
        parts = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": digest(blob), "size": len(blob)}],
        }
        document = json.dumps(parts).encode() if manifest is None else manifest(parts)
        self.put(f"/v2/{name}/blobs/{digest(config)}", config)
        self.put(f"/v2/{name}/blobs/{digest(blob)}", blob if sent is None else sent)
        self.put(f"/v2/{name}/manifests/1", document, kind)
        return document


def table():
    made = Table()
    good = layer("hello")
    made.image("good", good)
    made.put("/v2/garbage/manifests/1", b"\x00\xff garbage \x1b[31m", MANIFEST)
    made.put("/v2/html/manifests/1", b"<html>Welcome</html>", "text/html")
    made.put("/v2/empty/manifests/1", b"", MANIFEST)
    made.put("/v2/deep/manifests/1", b"[" * 100_000, MANIFEST)
    made.put("/v2/large/manifests/1", b'{"x":"' + b"x" * (5 << 20) + b'"}', MANIFEST)
    made.put("/v2/broken/manifests/1", b"\x1b]0;title\x07 it\nbroke", "text/plain", 500)
    made.put("/v2/denied/manifests/1", b"", status=401)
    made.put(
        "/v2/forbidden/manifests/1", b'{"errors":[{"code":"DENIED","message":"\\u001b[2Jno"}]}', status=403
    )
    made.routes["/v2/closing/manifests/1"] = [0, {}, ""]
    made.image("both", good, manifest=lambda parts: json.dumps({**parts, "manifests": []}).encode())
    made.image(
        "twice", good, manifest=lambda p: json.dumps(p).replace('"size"', '"size": 1, "size"', 1).encode()
    )
    made.image("upper", good, manifest=lambda parts: json.dumps(parts).replace("sha256:", "SHA256:").encode())
    made.image(
        "path",
        good,
        manifest=lambda p: json.dumps({**p, "config": {**p["config"], "digest": "../x"}}).encode(),
    )
    made.image("negative", good, manifest=lambda p: json.dumps(p).replace('"size": ', '"size": -').encode())
    made.image("lies", good, sent=b"\xa5" * len(gzip.compress(good, mtime=0)))
    made.image("longer", good, sent=gzip.compress(good, mtime=0) + b"more")
    made.image("notgzip", good, blob=b"\xa5" * 300)
    made.image("other", good, blob=gzip.compress(layer("another"), mtime=0))
    made.image("outside", layer("../../etc/cron.d/x"))
    made.image("whiteout", layer(".wh..."))
    made.image("half", good[:700])
    made.image("noconfig", good, config=b"[1, 2]")
    made.image(
        "nolayers", good, config=b'{"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}'
    )
    made.put("/v2/lost/manifests/1", made.image("lost", good), MANIFEST)
    for path in [path for path in made.routes if path.startswith("/v2/lost/blobs/")]:
        del made.routes[path]
    document = made.image("named", good)
    made.put(f"/v2/named/manifests/{digest(b'x')}", document, MANIFEST)
    loop = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": INDEX, "digest": digest(b"loop"), "size": 4, "platform": {"os": "linux", "architecture": "amd64"}}
    ]}).encode()  # fmt: skip
    made.put("/v2/loop/manifests/1", loop, INDEX)
    made.put("/v2/windows/manifests/1", loop.replace(b'"linux"', b'"windows"'), INDEX)
    made.put("POST", b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}', status=403)
    return made.routes


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("ps")  # whose first verb makes its run root
        with open(f"{made.folder}/routes.json", "w") as file:
            json.dump(table(), file)
        server = subprocess.Popen(
            [*made.prefix, "python3", "-c", SERVER, f"{made.folder}/routes.json", str(PORT)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout.readline() == "ready\n"
        made.patient = {
            name: made.start("pull", "-q", f"127.0.0.1:{PORT}/{name}", stderr=subprocess.PIPE, text=True)
            for name in ("broken:1", "closing:1")
        }  # what may be a passing trouble is tried again, for some seconds
        yield made
        server.kill()
        server.wait()
        server.stdout.close()


CASES = [
    ("garbage:1", "garbage:1: the manifest is not"),
    ("html:1", "html:1: the manifest is not valid json"),
    ("empty:1", "ends too early"),
    ("deep:1", "nested too deeply"),
    ("large:1", "bytes where 4194304 are the limit"),
    ("denied:1", "denied|unauthorized|401|credentials|log in"),
    ("forbidden:1", r"\\x1b\[2Jno"),
    ("both:1", "two kinds of document at once"),
    ("twice:1", "the same key twice"),
    ("upper:1", "invalid digest"),
    ("path:1", "invalid digest"),
    ("negative:1", "size"),
    ("lies:1", "digest"),
    ("longer:1", "larger|longer|digest|more than|bytes"),
    ("notgzip:1", "gzip|compress|tar"),
    ("other:1", "diffID"),
    ("outside:1", "leaves the root"),
    ("whiteout:1", "whiteout|marks|name"),
    ("half:1", "truncated"),
    ("noconfig:1", "config"),
    ("nolayers:1", "layers|diff"),
    ("lost:1", "not found|incomplete|unknown|404|lost"),
    ("loop:1", "."),
    ("windows:1", "no image for"),
    ("nosuch:1", "not found|unknown|no such"),
    ("nosuch/at/all:1", "not found|unknown|no such"),
    (f"good@{digest(b'y')}", "not found|unknown|no such"),
    (f"named@{digest(b'x')}", "digest"),
]


@pytest.mark.parametrize(("name", "pattern"), CASES, ids=[name[:20] for name, _ in CASES])
def test_what_a_lying_registry_sends_is_refused_whole(box, name, pattern):
    before = state(box)
    done = box.estiva("pull", "-q", f"127.0.0.1:{PORT}/{name}", status=1)
    assert re.search(pattern, one_line(done.stderr)), done.stderr
    assert state(box) == before


def test_the_same_through_run(box):
    before = state(box)
    done = box.estiva("run", "--rm", f"127.0.0.1:{PORT}/outside:1", "true", status=125)
    assert "leaves the root" in done.stderr.splitlines()[-1] + done.stderr
    assert state(box) == before


def test_a_push_without_the_right_to(box):
    name = f"127.0.0.1:{PORT}/mine:1"
    box.estiva("tag", IMAGE, name)
    before = state(box)
    message = one_line(box.estiva("push", "-q", name, status=1).stderr)
    assert "denied" in message and f"127.0.0.1:{PORT}" in message
    after = state(box)
    assert {key: after[key] for key in after if "blobs" not in key} == {
        key: before[key] for key in before if "blobs" not in key
    }  # the layer has been compressed, which stays for the next push
    box.estiva("rmi", name)


@pytest.mark.parametrize(("name", "pattern"), [("broken:1", "500"), ("closing:1", f"127.0.0.1:{PORT}")])
def test_a_registry_that_is_broken_for_good(box, name, pattern):
    _, stderr = box.patient[name].communicate(timeout=300)
    assert box.patient[name].returncode == 1 and re.search(pattern, one_line(stderr)), stderr


def test_the_registry_is_not_to_blame_for_what_is_right(box):
    box.estiva("pull", "-q", f"127.0.0.1:{PORT}/good:1")
    box.estiva("rmi", f"127.0.0.1:{PORT}/good:1")
