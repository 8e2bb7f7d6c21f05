"""A hint says what helps: of an image that isn't here, of a registry that can't be trusted or has no TLS, of certificates
without their keys, of a stage that there isn't, of a limit that is reached."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from enginekit import ESTIVA, IMAGE, host

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("openssl"), reason="needs root and openssl"
)
PLAIN, SECURE, EXPIRED = "10.9.9.9:5000", "10.9.9.9:5443", "10.9.9.10:5443"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        for address in ("10.9.9.9/32", "10.9.9.10/32"):
            subprocess.run([*made.prefix, "ip", "address", "add", address, "dev", "lo"], check=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", "key.pem",
             "-out", "cert.pem", "-addext", "subjectAltName=IP:10.9.9.9"],
            cwd=made.folder, check=True, capture_output=True,
        )  # fmt: skip
        servers = []
        tls = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
        for place, words in ((PLAIN, ()), ("0.0.0.0:5443", tls)):
            words = ("registry", "serve", "--listen", place, "--root", f"{made.folder}/{place}", *words)
            servers.append(made.start(*words, stdout=subprocess.PIPE, text=True))
            assert servers[-1].stdout.readline()
        for place in (PLAIN, SECURE, EXPIRED):
            made.estiva("tag", IMAGE, f"{place}/x:1")
        yield made
        for server in servers:
            server.terminate()
            server.wait(120)
            server.stdout.close()


def told(box, *words, status=1, **options):
    """(message, hint) of an error."""
    lines = box.estiva(*words, status=status, **options).stderr.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("estiva: "))
    hint = next((line for line in lines[at + 1 :] if line.startswith("hint: ")), "")  # below what is shown
    return lines[at].removeprefix("estiva: "), hint.removeprefix("hint: ")


@pytest.mark.parametrize("verb", ["push", "rmi"])
def test_what_a_pull_would_not_help(box, verb):
    message, hint = told(box, verb, "nosuch:1")
    assert message == "no such image: nosuch:1"
    assert hint.startswith("`estiva images` shows what is here") and "pull" not in hint
    assert ("`estiva tag IMAGE nosuch:1`" in hint) == (verb == "push")


@pytest.mark.parametrize("words", [("save", "nosuch:1"), ("tag", "nosuch:1", "x"), ("history", "nosuch:1")])
def test_what_a_pull_helps(box, words):
    assert told(box, *words) == ("no such image: nosuch:1", "`estiva pull nosuch:1` fetches it")


def registry_verbs(place):
    return (
        ("pull", f"{place}/x:1"),
        ("push", f"{place}/x:1"),
        ("login", "-u", "ana", "-p", "secret", place),
        ("search", f"{place}/x"),
        ("image", "referrers", f"{place}/x:1"),
        ("manifest", "inspect", f"{place}/x:1"),
        ("image", "copy", f"{place}/x:1", "oci:copied:1"),
    )


@pytest.mark.parametrize("number", range(7))
def test_a_registry_without_tls_and_what_the_hint_says_helps(box, number):
    words = registry_verbs(PLAIN)[number]
    message, hint = told(box, *words)
    assert message == f"{PLAIN} does not speak https"
    assert hint == f"without TLS: ESTIVA_REGISTRY_PLAIN_HTTP={PLAIN}, or `plain-http` in registries.toml"
    name, _, value = hint.split()[2].rstrip(",").partition("=")
    after = box.estiva(*words, status=None, env={name: value}).stderr
    assert "https" not in after


@pytest.mark.parametrize("number", range(7))
def test_a_certificate_of_nobody_known_and_what_the_hint_says_helps(box, number):
    words = registry_verbs(SECURE)[number]
    message, hint = told(box, *words)
    assert message == f"the certificate of {SECURE} is not trusted: self-signed certificate"
    assert hint == f"ESTIVA_REGISTRY_CA=FILE names who signed it, or `ca` of {SECURE} in registries.toml"
    after = box.estiva(*words, status=None, env={"ESTIVA_REGISTRY_CA": f"{box.folder}/cert.pem"}).stderr
    assert "certificate" not in after


def test_a_certificate_for_another_name_gets_no_such_hint(box):
    env = {"ESTIVA_REGISTRY_CA": f"{box.folder}/cert.pem"}
    message, hint = told(box, "pull", f"{EXPIRED}/x:1", env=env)
    assert (
        message.startswith(f"the certificate of {EXPIRED} is not trusted: IP address mismatch") and hint == ""
    )


def test_a_run_that_would_pull_keeps_the_hint(box):
    message, hint = told(box, "run", f"{PLAIN}/other:1", status=125)
    assert message.startswith(
        f"image {PLAIN}/other:1 is not here and can't be pulled: {PLAIN} does not speak https"
    )
    assert "ESTIVA_REGISTRY_PLAIN_HTTP" in hint


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--tls-cert", "cert.pem"), "can't use the certificate cert.pem alone", "--tls-key FILE names its key"),
        (("--tls-key", "key.pem"), "a key without a certificate", "name the certificate too"),
        (("--tls-cert", "no.pem"), "can't use the certificate no.pem: no such file", ""),
        (("--tls-cert", "cert.pem", "--tls-key", "no.pem"), "can't use the key no.pem: no such file", ""),
        (("--tls-cert", "cert.pem", "--tls-key", "cert.pem"), "can't use the certificate cert.pem with the key cert.pem",
         "both are PEM files"),
    ],
)  # fmt: skip
def test_certificates_of_a_registry(box, words, message, hint):
    words = ("registry", "serve", "--listen", "127.0.0.1:0", "--root", "served", *words)
    was, said = told(box, *words)
    assert was.startswith(message) and said.startswith(hint)


def test_a_certificate_and_its_key_may_be_one_file(box):
    folder = pathlib.Path(box.folder)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    server = box.start(
        "registry", "serve", "--listen", "127.0.0.1:0", "--root", "served", "--tls-cert", "both.pem",
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout.readline().startswith("serving ")
    server.terminate()
    server.wait(120)
    server.stdout.close()


def build(box, text):
    pathlib.Path(box.folder, "context").mkdir(exist_ok=True)
    pathlib.Path(box.folder, "context", "Dockerfile").write_text(text)
    return told(box, "build", "context")


def test_a_stage_that_there_is_not(box):
    message, hint = build(
        box, f"FROM {IMAGE} AS base\nFROM {IMAGE} AS more\nFROM {IMAGE}\nCOPY --from=bsae /etc /etc\n"
    )
    assert message.startswith("Dockerfile:4: there is no stage bsae, and the image of that name: ")
    assert hint == "earlier stages with a name: base, more"
    message, hint = build(box, f"FROM {IMAGE}\nRUN --mount=type=bind,from=base,target=/x true\n")
    assert "there is no stage base, and the image of that name" in message and "COPY" not in hint
    message, hint = build(box, f"FROM {IMAGE} AS base\nFROM {IMAGE}\nCOPY --from={PLAIN}/no:1 /etc /etc\n")
    assert "stage" not in message
    message, _ = build(box, "ARG BASE=10.9.9.9:1/no:1\nFROM $BASE\n")
    assert message.startswith(
        "Dockerfile:2: the image 10.9.9.9:1/no:1 is not to be had: can't reach 10.9.9.9:1"
    )
    box.estiva("tag", IMAGE, "10.9.9.9:1/no:1")
    _, hint = told(box, "build", "--platform", "linux/s390x", "context")
    assert hint.startswith("the image here is for linux/")
    box.estiva("rmi", "10.9.9.9:1/no:1")
    (pathlib.Path(box.folder) / "context/Dockerfile").write_text(f"FROM {IMAGE}\nCOPY --from=files /a /a\n")
    message, _ = told(box, "build", "--build-context", "files=none/here", "context")
    assert message == "Dockerfile:2: the build context files: none/here is not a directory"


def test_a_limit_of_memory(box):
    """Address space for the interpreter and no more: whatever fails first, it is not told as our own mistake."""
    words = ["image", "copy", "--all", f"{PLAIN}/x:1", "oci:limited:1"]
    seen = set()
    for size in range(30, 70, 4):
        done = subprocess.run(
            [*box.prefix, "prlimit", f"--as={size << 20}", ESTIVA, *words],
            env={**box.env, "ESTIVA_REGISTRY_PLAIN_HTTP": PLAIN}, cwd=box.folder, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert "internal error" not in done.stderr, done.stderr
        seen.update(line for line in done.stderr.splitlines() if line.startswith("estiva: no more "))
    assert seen


def test_ctrl_c_while_it_starts_says_nothing(box):
    for milliseconds in range(0, 60, 2):
        words = [ESTIVA, "ps"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(words, env=box.env, text=True, **pipes) as program:
            time.sleep(milliseconds / 1000)
            program.send_signal(signal.SIGINT)
            said = program.stderr.read()
            # before the interpreter stands, nothing of ours runs that could be silent; of that last kind is
            # what its own first import (line 3 of the launcher) throws away when it is done
            early = said.startswith("Fatal Python error") or 'launcher.py", line 0,' in said
            early = early or ("_get_module_lock" in said and ".py" not in said)
            assert "Traceback" not in said or early
