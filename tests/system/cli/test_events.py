"""`events`: what a user's verbs leave in the log, each exactly once, and what is shown of it."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from enginekit import eventually, host

ID = r"[0-9a-f]{64}"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--rm", "box:1", "true")
        yield made


def since(box, moment, *options):
    text = box.estiva("events", "--since", repr(moment), "--until", "0s", "--format", "json", *options).stdout
    return [json.loads(line) for line in text.splitlines()]


def actions(found):
    return [
        (e["Type"], e["Action"])
        for e in found
        if e["Type"] != "network" and not e["Action"].endswith("prune")
    ]


def test_a_run(box):
    now = time.time()
    box.estiva("run", "--rm", "--name", "quick", "-l", "a=b", "box:1", "sh", "-c", "exit 3", status=3)
    found = [event for event in since(box, now) if event["Type"] == "container"]
    assert actions(found) == [("container", a) for a in ("create", "attach", "start", "die", "destroy")]
    for event in found:
        about = event["Actor"]["Attributes"]
        assert (about["name"], about["image"], about["a"], event["from"]) == ("quick", "box:1", "b", "box:1")
    about = found[3]["Actor"]["Attributes"]
    assert about["exitCode"] == "3" and about["execDuration"].isdigit()


def test_verbs(box):
    now = time.time()
    box.estiva("run", "-d", "--name", "web", "-v", "data:/d", "box:1", "sleep", "1000")
    box.estiva("exec", "web", "sh", "-c", "exit 4", status=4)
    box.estiva("pause", "web")
    box.estiva("unpause", "web")
    box.estiva("rename", "web", "site")
    box.estiva("kill", "-s", "CONT", "site")
    box.estiva("stop", "-t", "0", "site")
    box.estiva("start", "site")
    box.estiva("restart", "-t", "0", "site")
    box.estiva("rm", "-f", "site")
    box.estiva("volume", "rm", "data")
    found = since(box, now)
    stop = ["kill", "kill", "die", "unmount", "stop"]
    expected = [
        "create", "create", "mount", "start", "exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die",
        "pause", "unpause", "rename", "kill", *stop, "mount", "start", *stop, "mount", "start", "restart",
        "kill", "die", "unmount", "destroy", "destroy",
    ]  # fmt: skip
    assert [action for _, action in actions(found)] == expected
    by_action = {event["Action"]: event["Actor"]["Attributes"] for event in found}
    assert by_action["exec_die"]["exitCode"] == "4" and re.fullmatch(ID, by_action["exec_die"]["execID"])
    assert by_action["rename"]["oldName"] == "/web" and by_action["rename"]["name"] == "site"
    assert by_action["kill"] == {"image": "box:1", "name": "site", "signal": "9"}
    assert by_action["die"]["name"] == "site" and by_action["die"]["exitCode"] == "137"
    assert by_action["mount"]["destination"] == "/d" and by_action["mount"]["read/write"] == "true"


def test_a_monitor_that_was_killed(box):
    now = time.time()
    box.estiva("run", "-d", "--rm", "--name", "orphan", "box:1", "sleep", "1000")
    with open(
        f"{box.folder}/run/containers/{os.readlink(f'{box.folder}/run/names/orphan')}/state.json"
    ) as file:
        os.kill(json.load(file)["monitor"], signal.SIGKILL)
    eventually(lambda: not box.estiva("ps", "-q").stdout)
    found = [event for event in since(box, now) if event["Type"] == "container"]
    assert actions(found) == [("container", action) for action in ("create", "start", "die", "destroy")]
    assert found[2]["Actor"]["Attributes"]["exitCode"] == "137"


def test_a_start_that_fails(box):
    now = time.time()
    box.estiva("run", "--rm", "box:1", "nosuch", status=127)
    found = [event for event in since(box, now) if event["Type"] == "container"]
    assert actions(found) == [("container", action) for action in ("create", "die", "destroy")]
    assert found[1]["Actor"]["Attributes"]["exitCode"] == "127"


def test_images(box):
    now = time.time()
    box.estiva("tag", "box:1", "again:2")
    box.estiva("rmi", "again:2")
    found = since(box, now)
    assert actions(found) == [("image", "tag"), ("image", "untag")]
    names = [event["Actor"]["Attributes"]["name"] for event in found]
    assert names == ["again:2", found[1]["Actor"]["ID"]]  # as Docker's
    assert all(event["Actor"]["ID"].startswith("sha256:") for event in found)


def test_text_and_follow(box):
    child = box.start("events", "--filter", "event=die", stdout=subprocess.PIPE)
    try:
        box.estiva("run", "--rm", "--name", "told", "box:1", "true")
        again = 0
        while not select_ready(child.stdout) and again < 50:  # it may have begun after the first
            again += 1
            box.estiva("run", "--rm", "--name", "told", "box:1", "true")
        line = child.stdout.readline()
        line = line.decode() if isinstance(line, bytes) else line
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(20)
        child.stdout.close()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{9}}(Z|[+-]\d\d:\d\d) container die {ID} "
        r"\(execDuration=0, exitCode=0, image=box:1, name=told\)\n",
        line,
    )


def select_ready(stream):
    import select

    return bool(select.select([stream], [], [], 0.2)[0])


def test_templates_and_bad_input(box):
    template = "{{.Status}} {{.ID}} {{.From}} {{.Scope}} {{.Type}} {{.Actor.Attributes.name}}"
    now = time.time()
    made = box.estiva("create", "--name", "shown", "box:1", "true").stdout.strip()
    box.estiva("rm", "shown")
    told = box.estiva(
        "system", "events", "--since", repr(now), "--until", "0s", "--format", template, "-f", "event=create"
    ).stdout
    assert told == f"create {made} box:1 local container shown\n"
    for words, says in (
        (("--filter", "daemon=x"), "daemon"),
        (("--filter", "colour=red"), "colour"),
        (("--since", "yesterday"), "yesterday"),
        (("--format", "{{.Nope}}", "--until", "0s"), "Nope"),
        (("extra",), "argument"),
    ):
        assert says in box.estiva("events", *words, status=1).stderr


def test_a_log_that_can_t_be_written_fails_no_verb_and_is_told(box):
    log = f"{box.folder}/root/events.log"
    os.rename(log, log + ".1")
    os.mkdir(log)
    try:
        box.estiva("run", "--rm", "box:1", "true")
        assert os.path.getsize(f"{box.folder}/run/events.lost") >= 4
    finally:
        os.rmdir(log)
        os.unlink(f"{box.folder}/run/events.lost")
