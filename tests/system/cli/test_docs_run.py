"""Every block of docs/cli.md, docs/registry.md and docs/python.md is run, and README's lines too, in a host of its own
whose registries are those of tests/support/hubkit.py. A block that can't be run here says so in a comment above it."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from enginekit import CHECKOUT, ESTIVA, IMAGE, eventually, host
from hubkit import Hub

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("openssl"), reason="needs root and openssl"
)
PAGES = ("docs/cli.md", "docs/registry.md", "docs/python.md")
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>tested: [^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def blocks(page):
    """(language, text) of every block of a page."""
    text = (CHECKOUT / page).read_text()
    found = [(match["language"], match["text"]) for match in BLOCK.finditer(text)]
    assert len(found) * 2 == len(re.findall(r"^```", text, re.MULTILINE)), f"{page}: a block that is not seen"
    return found


def of(page, language):
    found = [text for kind, text in blocks(page) if kind == language]
    return [pytest.param(text, id=f"{number}-{text.split()[0]}") for number, text in enumerate(found)]


@pytest.fixture(scope="module")
def box():
    with host() as made:
        hub = Hub(made)
        (folder := pathlib.Path(made.folder, "bin")).mkdir()
        (folder / "estiva").symlink_to(ESTIVA)
        made.env |= {
            "PATH": f"{folder}:{made.env['PATH']}", "HOME": made.folder, "MANPATH": f"{made.folder}/usr/local/share/man",
        }  # fmt: skip
        made.image("nginx", ["CMD echo serving; exec sleep 600"])
        made.image("other", ["ENV A=arm"])
        made.estiva("tag", IMAGE, "alpine:3.20")
        made.estiva("manifest", "create", "hub", "alpine:3.20")
        made.estiva("manifest", "add", "--os", "linux", "--arch", "arm64", "hub", "other")
        for name in ("alpine:3.20", "alpine:latest"):
            made.estiva("manifest", "push", "hub", name)
        made.estiva("push", "nginx")
        made.estiva("rmi", "nginx", "other", "alpine:3.20")
        made.estiva("manifest", "rm", "hub")
        for name in ("web:1", "registry.example.org/web:1", "registry.example.org/web:2"):
            made.estiva("tag", IMAGE, name)
        made.estiva("save", "--format", "oci-archive", "-o", "web.tar", IMAGE)
        keys(made)
        yield made
        for container in made.out("ps", "-aq").split():
            made.estiva("rm", "-f", container)
        hub.close()


def keys(box):
    """The files that the pages' configurations name."""
    folder = pathlib.Path(box.folder)
    for name in ("our-ca.pem", "old.pem", "cert.pem"):
        shutil.copy(folder / "hub.pem", folder / name)
    shutil.copy(folder / "hub.key", folder / "key.pem")
    import bcrypt
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ed25519

    (folder / "users").write_text("ana:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() + "\n")
    key = jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    (folder / "keys.json").write_text(
        json.dumps({"keys": [{**key, "kid": "1", "alg": "EdDSA", "use": "sig"}]})
    )
    (folder / "hub.json").write_text('{"auths": {}}')


def placed(box, text):
    """A block with the paths of the host's folder for those of the machine."""
    for path in (
        "/srv/registry",
        "/var/log/registry",
        "/var/lib/other",
        "/run/other",
        "/usr/local/share/man",
    ):
        text = text.replace(path, f"{box.folder}{path}")
    (pathlib.Path(box.folder) / "var/log").mkdir(parents=True, exist_ok=True)
    return text


def shell(box, text, status=0):
    done = subprocess.run(
        [*box.prefix, "bash", "-euo", "pipefail", "-c", text], env=box.env, cwd=box.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == status, (text, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


class Served:
    """`registry serve` until the end of the with-block, by the words of a shell."""

    def __init__(self, box, line):
        words = [*box.prefix, "bash", "-c", f"exec {line}"]
        self.server = subprocess.Popen(words, env=box.env, cwd=box.folder, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        said = self.server.stdout.readline()
        assert said.startswith("serving "), said
        return said.rstrip().rpartition(" ")[2]

    def __exit__(self, *error):
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(120) == 0
        self.server.stdout.close()


def test_every_block_has_a_test():
    kinds = {page: {language for language, _ in blocks(page)} for page in PAGES}
    assert kinds == {
        "docs/cli.md": {"sh", "toml", "console"},  # console: servers, in tests/system/api
        "docs/registry.md": {"sh", "toml", "json", ""},
        "docs/python.md": {"python", "sh"},  # python: tests/system/boot/test_quickstart.py
    }


@pytest.mark.parametrize(
    "text", [*of("docs/cli.md", "sh"), *of("docs/registry.md", "sh"), *of("docs/python.md", "sh")]
)
def test_commands(box, text):
    text = placed(box, text)
    if text.splitlines()[-1].startswith("man ") and not shutil.which("man"):
        pytest.skip("man is not installed")
    if "registry serve" not in text:
        shell(box, text)
        return
    with Served(box, text.strip()) as address:
        assert box.estiva("search", f"{address}/").returncode == 0


@pytest.mark.parametrize("text", of("docs/cli.md", "toml"))
def test_the_file_of_registries(box, text):
    path = pathlib.Path(box.folder, "registries.toml")
    path.write_text(text)
    env = {"ESTIVA_REGISTRIES": str(path), "ESTIVA_REGISTRY_CA": ""}
    box.estiva("rmi", "-f", "alpine:3.20", status=None)
    box.estiva("pull", "alpine:3.20", env=env)  # by the first mirror, whose authority is the file's `ca`
    assert (
        box.estiva("search", "old.example.org/", env=env).returncode == 0
    )  # verify = false: a name not in it
    path.write_text(text.replace('ca = "our-ca.pem"', 'ca = "missing.pem"'))
    assert "missing.pem" in box.estiva("pull", "alpine:3.20", env=env, status=1).stderr


@pytest.mark.parametrize("text", of("docs/registry.md", "toml"))
def test_a_registry_s_configuration(box, text):
    text = placed(box, text).replace("0.0.0.0:5000", "127.0.0.1:0")
    whole = [text] if "htpasswd" in text else ['htpasswd = "users"', text]
    if "root =" not in text:
        whole = ['root = "configured"', 'listen = "127.0.0.1:0"', *whole]
    pathlib.Path(box.folder, "served.toml").write_text("\n".join(whole))
    with Served(box, "estiva registry serve -c served.toml") as address:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", address)


@pytest.mark.parametrize("text", of("docs/registry.md", "json"))
def test_a_record_of_the_access_log(box, text):
    with Served(
        box, "estiva registry serve --listen 127.0.0.1:0 --root logged --access-log log.json"
    ) as address:
        box.estiva("tag", IMAGE, f"{address}/team/web:1")
        box.estiva("push", f"{address}/team/web:1")
        box.estiva("rmi", f"{address}/team/web:1")
        log = eventually(lambda: pathlib.Path(box.folder, "log.json").read_text())
    shown, record = json.loads(text), json.loads(log.splitlines()[0])
    assert list(shown) == list(record)
    for key in set(shown) - {"user"}:  # who has not logged in has no name
        assert type(shown[key]) is type(record[key]), key


@pytest.mark.parametrize("text", of("docs/registry.md", ""))
def test_what_is_on_a_registry_s_disk(box, text):
    root = pathlib.Path(box.folder, "disk")
    pathlib.Path(box.folder, "disk.toml").write_text(
        f'root = "{root}"\nlisten = "127.0.0.1:0"\nhtpasswd = "users"\n[token]\n'
    )
    with Served(box, "estiva registry serve -c disk.toml") as address:
        box.estiva("login", "-u", "ana", "--password-stdin", address, input="secret")
        box.estiva("tag", IMAGE, f"{address}/web:1")
        box.estiva("push", f"{address}/web:1")
        box.estiva("rmi", f"{address}/web:1")
        for line in text.splitlines():
            assert list(root.glob(re.sub("[A-Z]+", "*", line.split()[0]).removesuffix("/*") or "*")), line


# --- README's lines, one by one ---

TERMINAL = "run --rm -it", "exec -it"


def lines():
    (block,) = [text for language, text in blocks("README.md") if language == "sh" and "estiva pull" in text]
    return [line.partition("   #")[0].rstrip() for line in block.splitlines() if line]


def test_readme(box):
    shutil.copytree(CHECKOUT / "examples", f"{box.folder}/examples")
    server = None
    for line in lines():
        line = placed(box, line)
        if any(word in line for word in TERMINAL):
            if shutil.which("script"):  # a terminal on which the end of input is typed at once
                shell(box, f"script -qec {line!r} /dev/null")
        elif line.endswith("&"):
            server = Served(box, line.rstrip("& "))
        elif "logs -f" in line:
            follower = subprocess.Popen(
                [*box.prefix, "bash", "-c", f"exec {line}"], env=box.env, cwd=box.folder
            )
            follower.terminate()
            follower.wait(120)
        else:
            shell(box, line)
    assert server is not None
    server.__enter__()
    server.__exit__()
