"""No option of estiva-oci is accepted and does nothing: see tests/unit/cli/test_every_option.py."""

import os
import types

import pytest

import estiva.runtime
import optionkit
from estiva.ocicli import main as oci

SINGLE = (
    "ocicli.events._follow",
    "ocicli.foreground.take_signals",
    "ocicli.foreground.attend",
    "ocicli.foreground.prepare",
    "ocicli.handover.fd_sender",
    "ocicli.handover.write_pid",
    "ocicli.handover.check_fds",
)
PURE = (
    "runtime.bundle.bundle.check_process",
    "runtime.security.kernel_paths",
    "runtime.security.capabilities",
)
VERBS = {name: oci.load(name) for name in oci.VERBS}
OPTIONS = [(name, option) for name, verb in VERBS.items() for option in verb.options]
SAMPLES = {
    "additional-gids": "7",
    "bundle": "thing-folder",
    "cap": "CAP_KILL",
    "cgroup": "below",
    "cwd": "/w",
    "empty-ns": "network",
    "env": "A=1",
    "format": "json",
    "interval": "7s",
    "memory": "64m",
    "page-server": "10.0.0.1:99",
    "process": "process.json",
    "resources": "resources.json",
    "user": "7:7",
}
SO_ANYWAY = {
    ("create", "no-subreaper"): "no process of create stays that could reap",
    ("checkpoint", "empty-ns"): "the network namespace's properties are never in the images",
    ("restore", "empty-ns"): "the network namespace's properties are never in the images",
}
# verb, option -> what is given beside it
BESIDE = {
    ("run", "console-socket"): ["--detach"],
    ("restore", "console-socket"): ["--detach"],
    ("exec", "console-socket"): ["--detach", "--tty"],
}
WORDS = {"exec": ["web", "sh"]}
PROCESS = {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["A=0"], "terminal": False}


def process(terminal):
    return {**PROCESS, "terminal": terminal}


@pytest.fixture(scope="module")
def settings():
    """What the bundle and the container of a test are."""
    return {"terminal": False, "status": "running"}


@pytest.fixture(scope="module")
def journal(settings):
    def config():
        return {"process": process(settings["terminal"]), "linux": {}}

    def bundle(journal):
        return types.SimpleNamespace(config=config(), warnings=[], directory="/b")

    def made(journal):
        record = {"owner": 0, "rootfs": "/r", "created": 1, "rdt": None}
        group = optionkit.Thing(journal, "cgroup", stats=dict)
        state = dict.fromkeys(("ociVersion", "id", "pid", "status", "bundle"), 7) | {"annotations": {}}
        return optionkit.Thing(
            journal, "container", status=lambda: settings["status"], config=config, record=record, pid=7,
            oci_state=lambda: state, id="web", cgroup=group, lock=lambda: os.open("/dev/null", os.O_RDONLY), directory="/d",
        )  # fmt: skip

    answers = {
        "runtime.lifecycle.containers.load": made,
        "runtime.lifecycle.containers.everything": lambda journal: [made(journal)],
        "runtime.lifecycle.containers.check_id": "web",
        "runtime.lifecycle.create.create": lambda journal: (
            made(journal),
            optionkit.Thing(journal, "init"),
        ),
        "runtime.lifecycle.operations.delete": [],
        "runtime.lifecycle.restore.restore": lambda journal: (
            made(journal),
            optionkit.Thing(journal, "init"),
        ),
        "runtime.bundle.bundle.load": bundle,
        "runtime.bundle.validate.process": [],
        "runtime.cgroup.warnings": [],
        "runtime.state.read": {"rdt": None},
        "ocicli.foreground.attend": 0,
    }
    with optionkit.journal([estiva.runtime], SINGLE, answers, PURE) as found:
        yield found


@pytest.fixture
def stage(journal, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr("os.pidfd_open", lambda pid, flags: 9)
    return optionkit.Stage(
        journal, tmp_path, monkeypatch, capsys,
        {"process.json": '{"args": ["other"], "cwd": "/", "user": {"uid": 0, "gid": 0}}', "resources.json": '{"memory": {}}'},
        ["thing-folder"],
    )  # fmt: skip


def given(option):
    if option[2] == "flag":
        return [f"--{option[1]}"]
    sample = SAMPLES.get(option[1]) or ("0-1" if option[3] == "LIST" else "7")
    return [f"--{option[1]}", sample]


@pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name} --{option[1]}" for name, option in OPTIONS]
)
def test_an_option_changes_what_is_done(name, option, stage, settings):
    verb = VERBS[name]
    context = oci.Context()
    context.root = "/run/oci"
    settings["terminal"] = option[1] == "console-socket"
    settings["status"] = "paused" if option[1] == "ignore-paused" else "running"
    beside, words = BESIDE.get((name, option[1]), []), WORDS.get(name, ["web"] * verb.least)
    without, _ = stage.done(verb, [*beside, *words], context)
    seen, told = stage.done(verb, [*beside, *given(option), *words], context)
    assert told is None, told
    assert (seen == without) == ((name, option[1]) in SO_ANYWAY), seen


@pytest.mark.parametrize("option", oci.GLOBALS, ids=[option[1] for option in oci.GLOBALS])
def test_a_word_before_the_verb_counts(option, capsys, tmp_path, monkeypatch):
    """Of the context that verbs work with, or of what is printed."""
    monkeypatch.setenv("USER", "root")
    sample = {"log-format": "json", "log": str(tmp_path / "log"), "rootless": "true"}.get(
        option[1], str(tmp_path)
    )
    words = [f"--{option[1]}"] if option[2] == "flag" else [f"--{option[1]}", sample]

    def seen(words):
        kept = []
        probe = types.SimpleNamespace(failure=1, options=(), least=0, most=0, interspersed=True, whole=False)
        probe.action = lambda context, options: kept.append(vars(context)) or 0
        monkeypatch.setattr(oci, "load", lambda name: probe)
        assert oci.run([*words, "list"]) == 0
        told = capsys.readouterr()
        return repr(kept), told.out, told.err.partition(" ")[2]

    assert seen(words) != seen([])
