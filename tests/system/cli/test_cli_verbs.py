"""The verbs as a user types them: lists, images, archives, volumes, registry, build, system."""

import fcntl
import json
import os
import pathlib
import pty
import re
import subprocess
import termios

import pytest

from enginekit import ESTIVA, IMAGE, eventually, host
from ocikit import gone

HEADINGS = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture
def sleeper(box, request):
    name = re.sub(r"[^a-z0-9]", "-", request.node.name.lower())[:40].strip("-")
    box.estiva("run", "-d", "--network", "none", "--name", name, "-l", f"test={name}", IMAGE, "sleep", "300")
    yield name
    box.estiva("rm", "-f", name, status=None)


@pytest.fixture(scope="module")
def registry(box):
    folder = f"{box.folder}/registry"
    server = box.start(
        "registry", "serve", "--listen", "127.0.0.1:5000", "--root", folder, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout.readline() == f"serving {folder} on 127.0.0.1:5000\n"
    yield "localhost:5000"
    server.terminate()
    assert server.wait(120) == 0
    server.stdout.close()


def in_terminal(box, *words, typed=b""):
    """Run the command line on a terminal of its own: (exit status, what the terminal shows)."""
    master, slave = pty.openpty()

    def control():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(
        [*box.prefix, ESTIVA, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**box.env, "TERM": "xterm"},
        cwd=box.folder,
        preexec_fn=control,
    )
    os.close(slave)
    os.write(master, typed)
    shown = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:
            break
        shown += data
    os.close(master)
    return child.wait(), shown.decode(errors="replace")


def test_ps_shows_docker_s_columns(box, sleeper):
    head, row = box.out("ps", "--filter", f"name={sleeper}").splitlines()
    assert re.split(r"\s{2,}", head) == HEADINGS
    container = box.out("inspect", "-f", "{{.Id}}", sleeper)
    assert re.split(r"\s{2,}", row)[:3] == [container[:12], IMAGE, '"sleep 300"']
    assert " Up " in row and row.endswith(sleeper)
    assert box.out("ps", "-q", "-f", f"name={sleeper}") == container[:12]
    assert box.out("container", "ls", "-q", "--no-trunc", "-f", f"label=test={sleeper}") == container
    entry = json.loads(box.out("ps", "--format", "json", "-f", f"name={sleeper}"))
    assert (entry["Names"], entry["State"], entry["Labels"]) == (sleeper, "running", f"test={sleeper}")
    assert box.out("ps", "--format", "table {{.Names}}\t{{.State}}", "-f", f"id={container}") == (
        f"{'NAMES':{max(10, len(sleeper) + 3)}}STATE\n{sleeper:{max(10, len(sleeper) + 3)}}running"
    )


def test_ps_of_what_has_ended(box, sleeper):
    box.estiva("kill", sleeper)
    assert box.out("wait", sleeper) == "137"
    assert box.out("ps", "-q", "-f", f"name={sleeper}") == ""
    shown = box.out("ps", "-a", "--format", "{{.Status}}", "-f", f"name={sleeper}")
    assert re.fullmatch(
        r"Exited \(137\) (Less than a second|\d+ seconds?|About a minute|\d+ minutes) ago", shown
    )
    assert box.out("ps", "-q", "--filter", "status=exited", "-f", f"name={sleeper}") != ""


def test_an_unknown_field_is_named(box, sleeper):
    done = box.estiva("ps", "--format", "{{.Nope}}", status=1)
    assert done.stderr == "estiva: template: no field .Nope\nhint: '{{json .}}' shows what there is\n"
    done = box.estiva("inspect", "-f", "{{.State.Nope}}", sleeper, status=1)
    assert "no field .Nope in .State" in done.stderr


def test_each_word_is_done_though_one_fails(box, sleeper):
    done = box.estiva("kill", "nosuch", sleeper, status=1)
    assert done.stdout == f"{sleeper}\n"
    assert "nosuch" in done.stderr
    assert box.estiva("rm", "-f", "nosuch").returncode == 0


def test_logs_keep_the_streams_apart(box):
    wait = "until [ -e /go-on ]; do sleep 0.02; done; rm /go-on"
    script = f"echo one; {wait}; echo two >&2; {wait}; echo three"
    box.estiva("run", "-d", "--name", "talker", "--network", "none", IMAGE, "sh", "-c", script)
    for stream, text in (("stdout", "one\n"), ("stderr", "two\n")):
        eventually(lambda stream=stream, text=text: getattr(box.estiva("logs", "talker"), stream) == text)
        box.estiva("exec", "talker", "touch", "/go-on")
    box.estiva("wait", "talker")
    done = box.estiva("logs", "talker")
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
    assert box.estiva("logs", "--tail", "1", "talker").stdout == "three\n"
    stamped = box.estiva("logs", "-t", "--tail", "1", "talker").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z three\n", stamped)
    assert box.estiva("logs", "--until", "1h", "talker").stdout == ""
    assert box.estiva("logs", "-f", "--since", "1h", "talker").stdout == "one\nthree\n"
    box.estiva("rm", "talker")


def test_commit_tag_history_rmi(box, sleeper):
    box.estiva("exec", sleeper, "sh", "-c", "echo new > /made")
    assert "A /made" in box.out("diff", sleeper).splitlines()
    made = box.out("commit", "-m", "a note", "-c", 'CMD ["cat", "/made"]', sleeper, "made:1")
    assert box.out("run", "--rm", "--network", "none", "made:1") == "new"
    box.estiva("tag", "made:1", "example.org/made:2")
    names = box.out("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert {"made:1", "example.org/made:2"} <= set(names)
    assert box.out("images", "-q", "--no-trunc", "example.org/made") == made
    assert box.out("images", "-q", "--filter", "reference=made*") == made[7:19]
    first = box.out("history", "--format", "{{.ID}} {{.Comment}}", "made:1").splitlines()[0]
    assert first == f"{made[7:19]} a note"
    refused = box.estiva("rmi", made[7:19], status=1)
    assert "several names" in refused.stderr
    assert box.out("rmi", "made:1") == "Untagged: made:1"
    gone = box.out("rmi", "example.org/made:2").splitlines()
    assert gone[:2] == ["Untagged: example.org/made:2", f"Deleted: {made}"]
    assert box.estiva("rmi", "-f", "made:1").returncode == 0


def test_image_inspect_is_docker_s_shape(box):
    found = json.loads(box.out("image", "inspect", IMAGE))[0]
    assert found["RepoTags"] == [IMAGE]
    assert found["Os"] == "linux"
    assert found["RootFS"]["Type"] == "layers" and len(found["RootFS"]["Layers"]) == 1
    assert box.out("inspect", "-f", "{{.Id}}", IMAGE) == found["Id"]
    assert box.out("inspect", "--type", "image", "-f", "{{len .RootFS.Layers}}", IMAGE) == "1"
    both = box.estiva("image", "inspect", "-f", "{{.Os}}", "nosuch:1", IMAGE, status=1)
    assert both.stdout == "linux\n"
    assert "nosuch:1" in both.stderr


def test_save_and_load(box):
    box.estiva("tag", IMAGE, "saved:1")
    box.estiva("save", "-o", "saved.tar", "saved:1")
    box.estiva("rmi", "saved:1")
    assert box.out("load", "-i", "saved.tar") == "Loaded image: saved:1"
    archive = box.estiva("save", "saved:1", text=False).stdout
    assert box.estiva("load", "-q", input=archive, text=False).stdout == b"Loaded image: saved:1\n"
    box.estiva("rmi", "saved:1")
    assert "not written to a terminal" in in_terminal(box, "save", IMAGE)[1]


def test_export_and_import(box, sleeper):
    box.estiva("export", "-o", "exported.tar", sleeper)
    made = box.out("import", "-c", "ENV A=b", "-m", "came by tar", "exported.tar", "imported:1")
    assert (
        box.out("run", "--rm", "--network", "none", "imported:1", "sh", "-c", "echo $A; ls /bin/sh")
        == "b\n/bin/sh"
    )
    assert box.out("inspect", "-f", "{{.Comment}}", made) == "came by tar"
    box.estiva("rmi", "imported:1")


def test_volumes(box):
    assert box.out("volume", "create", "--label", "a=b", "goods") == "goods"
    box.estiva("run", "--rm", "--network", "none", "-v", "goods:/d", IMAGE, "sh", "-c", "echo x > /d/f")
    found = json.loads(box.out("volume", "inspect", "goods"))[0]
    assert (found["Name"], found["Labels"]) == ("goods", {"a": "b"})
    assert pathlib.Path(found["Mountpoint"], "f").read_text() == "x\n"
    assert box.out("volume", "ls", "-q", "--filter", "label=a=b") == "goods"
    assert box.out("volume", "ls").splitlines()[0] == "DRIVER    VOLUME NAME"
    box.estiva("create", "--name", "holder", "--network", "none", "-v", "goods:/d", IMAGE, "true")
    assert "in use" in box.estiva("volume", "rm", "goods", status=1).stderr
    box.estiva("rm", "holder")
    assert "goods" in box.out("volume", "prune", "-af").splitlines()
    assert box.estiva("volume", "rm", "-f", "goods").returncode == 0
    assert "no such volume: goods" in box.estiva("volume", "rm", "goods", status=1).stderr


def test_push_and_pull(box, registry):
    name = f"{registry}/ship:1"
    box.estiva("tag", IMAGE, name)
    pushed = box.out("push", name).splitlines()
    assert pushed[0] == f"The push refers to repository [{registry}/ship]"
    digest = pushed[-1].removeprefix("1: digest: ")
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    box.estiva("rmi", name)
    pulled = box.out("pull", name).splitlines()
    assert pulled[0] == "1: Pulling from ship"
    assert pulled[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name]
    assert f"Status: Image is up to date for {name}" in box.out("pull", name)
    assert box.out("pull", "-q", f"{registry}/ship@{digest}") == f"{registry}/ship@{digest}"
    assert digest in box.out("images", "--digests", name)
    missing = box.estiva("pull", f"{registry}/nosuch:1", status=1)
    assert "not found" in missing.stderr
    box.estiva("rmi", "-f", name)


def test_push_and_pull_all_tags(box, registry):
    """Every tag of the repository, and nothing of those whose names begin alike."""
    name = f"{registry}/fleet"
    tags = ["1", "1.2", "latest"]
    others = [f"{name}/more:1", f"{name}s:1", f"{name}-x:1", "fleet:1"]
    for each in [f"{name}:{tag}" for tag in reversed(tags)] + others:
        box.estiva("tag", IMAGE, each)
    lines = box.out("push", "-a", name).splitlines()
    assert lines.count(f"The push refers to repository [{name}]") == 1 and lines[0].startswith("The push")
    said = [line.partition(": digest: sha256:")[0] for line in lines if ": digest: " in line]
    assert said == tags
    assert box.out("search", f"{registry}/fleet", "--format", "{{.Name}}").split() == [name]
    assert box.out("push", "--all-tags", "-q", name).splitlines() == [f"{name}:{tag}" for tag in tags]
    box.estiva("rmi", *(f"{name}:{tag}" for tag in tags))
    assert sorted(box.out("pull", "-aq", name).splitlines()) == [f"{name}:{tag}" for tag in tags]
    said = box.out("pull", "--all-tags", name)
    assert [said.count(f"Status: Image is up to date for {name}:{tag}\n") for tag in tags] == [1, 1, 1]
    for each in others[:-1]:
        assert "not found" in box.estiva("pull", "-q", each, status=1).stderr
    box.estiva("rmi", *(f"{name}:{tag}" for tag in tags), *others)


def test_push_all_tags_ends_at_the_first_that_fails(box, registry):
    for tag in ("1", "2"):
        box.estiva("tag", IMAGE, f"localhost:1/fleet:{tag}")
    done = box.estiva("push", "-aq", "localhost:1/fleet", status=1)
    assert done.stdout == "" and done.stderr.count("can't reach localhost:1") == 1
    box.estiva("rmi", "localhost:1/fleet:1", "localhost:1/fleet:2")


def test_run_pulls_what_is_missing_and_tells_on_stderr(box, registry):
    name = f"{registry}/missing:1"
    box.estiva("tag", IMAGE, name)
    box.estiva("push", "-q", name)
    box.estiva("rmi", name)
    assert "no such image" in box.estiva("run", "--pull", "never", name, "true", status=125).stderr
    done = box.estiva("run", "--rm", "--network", "none", name, "echo", "here")
    assert done.stdout == "here\n"
    assert f"Pulling image '{name}'" in done.stderr
    box.estiva("rmi", "-f", name)
    status, shown = in_terminal(box, "pull", name)
    assert status == 0 and "Status: Downloaded newer image" in shown
    box.estiva("rmi", "-f", name)
    done = box.estiva("run", "--rm", "-q", "--network", "none", name, "echo", "here")
    assert (done.stdout, done.stderr) == ("here\n", "")
    box.estiva("rmi", "-f", name)


def test_login_and_logout(box, registry):
    done = box.estiva("login", "-u", "ana", "--password-stdin", registry, input="secret\n")
    assert done.stdout.startswith("Login Succeeded")
    kept = pathlib.Path(box.folder, "docker/config.json")
    assert registry in json.loads(kept.read_text())["auths"]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert box.out("logout", registry) == f"Removing login credentials for {registry}"
    assert box.out("logout", registry) == f"Not logged in to {registry}"
    assert "nobody can be asked" in box.estiva("login", registry, status=1).stderr


def test_a_terminal_reaches_the_command(box):
    words = ("run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c", "tty; read x; echo got $x; exit 5")
    status, shown = in_terminal(box, *words, typed=b"hello\n")
    assert status == 5
    assert "/dev/pts/0" in shown and "got hello" in shown
    refused = box.estiva("run", "--rm", "-it", IMAGE, "sh", status=1)
    assert refused.stderr.startswith("estiva: the input device is not a TTY\n")


def test_cidfile(box):
    box.estiva("run", "--rm", "--network", "none", "--cidfile", "cid", IMAGE, "true")
    assert re.fullmatch("[0-9a-f]{64}", pathlib.Path(box.folder, "cid").read_text())
    refused = box.estiva("run", "--rm", "--cidfile", "cid", IMAGE, "true", status=125)
    assert "cid" in refused.stderr


def test_build(box):
    folder = pathlib.Path(box.folder, "context")
    folder.mkdir()
    folder.joinpath("Dockerfile").write_text(
        f"FROM {IMAGE} AS base\nARG WHO=world\nCOPY f /f\n"
        'RUN --mount=type=secret,id=s printf "hello $WHO $(cat /run/secrets/s)" && echo x > /x\n'
        'FROM base\nCMD ["cat", "/f"]\n'
    )
    folder.joinpath("f").write_text("from the context\n")
    words = ("--network", "none", "--secret", "id=s,env=S", "--build-arg", "WHO", "--label", "k=v")
    env = {"S": "hush", "WHO": "ana"}
    first = box.estiva("build", *words, "-t", "built:1", "-t", "built:2", "--iidfile", "iid", folder, env=env)
    image_id = first.stdout.rstrip("\n")
    assert re.fullmatch("sha256:[0-9a-f]{64}", image_id)
    assert pathlib.Path(box.folder, "iid").read_text() == image_id
    assert re.search(r"^#\d \[base 3/4\] COPY f /f$", first.stderr, re.M)
    assert re.search(r"^#\d \d\.\d\d hello ana hush$", first.stderr, re.M)
    again = box.estiva("build", *words, folder, env=env)
    assert again.stdout == first.stdout and " CACHED\n" in again.stderr
    quiet = box.estiva("build", "-q", *words, folder, env=env)
    assert (quiet.stdout, quiet.stderr) == (first.stdout, "")
    assert box.out("run", "--rm", "--network", "none", "built:2") == "from the context"
    assert box.out("inspect", "-f", "{{.Config.Labels.k}}", "built:1") == "v"
    box.estiva("build", "-q", "--target", "base", "-t", "built:base", *words, folder, env=env)
    failed = box.estiva("build", "--network", "none", "-", input=f"FROM {IMAGE}\nRUN exit 3\n", status=1)
    assert "Dockerfile:2: " in failed.stderr and "exit status 3" in failed.stderr
    box.estiva("rmi", "built:1", "built:2", "built:base")


def test_from_host(box):
    box.estiva("image", "from-host", "-t", "hosty:1", "echo")
    assert box.out("run", "--rm", "--network", "none", "hosty:1", "echo", "yes") == "yes"
    box.estiva("rmi", "hosty:1")


def test_system(box, sleeper):
    usage = box.out("system", "df").splitlines()
    assert re.split(r"\s{2,}", usage[0]) == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line.split()[0] for line in usage[1:]] == ["Images", "Containers", "Local", "Build"]
    assert IMAGE in box.out("system", "df", "-v")
    box.estiva(
        "run",
        "--name",
        "writes",
        "--network",
        "none",
        "-v",
        "held:/v",
        IMAGE,
        "sh",
        "-c",
        "head -c 4096 /dev/zero | tee /v/f >/f",
    )
    parts = re.split(r"\n\n(?=Images|Containers|Local|Build)", box.out("system", "df", "-v"))
    shown = {part.split()[0]: part for part in parts}
    assert re.search(r"(?m)^\w{12} +box:1 .* 1 +[\d.]+kB .* Exited \(0\) .* writes$", shown["Containers"])
    assert re.search(r"(?m)^held +1 +[\d.]+kB$", shown["Local"])
    assert "CACHE ID" in shown["Build"]
    template = "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}}{{end}}|{{len .Images}}|{{range .Containers}}{{.Names}};{{end}}"
    volume, images, names = box.out("system", "df", "-v", "--format", template).split("|")
    assert re.fullmatch(r"held 1 [\d.]+kB", volume) and int(images) >= 1 and "writes;" in names
    whole = json.loads(box.out("system", "df", "-v", "--format", "json"))
    assert set(whole) == {"Images", "Containers", "Volumes", "BuildCache"}
    box.estiva("rm", "writes")
    box.estiva("volume", "rm", "held")
    assert box.out("info", "-f", "{{.ContainersRunning}} {{.EstivaRootDir}}") == f"1 {box.folder}/root"
    counts = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}"
    box.estiva("pause", sleeper)
    assert box.out("info", "-f", counts) == "1 0 1 0"
    box.estiva("unpause", sleeper)
    assert box.out("info", "-f", counts) == "1 1 0 0"
    assert box.out("info", "-f", "{{.Plugins}} {{.Runtimes}} {{.}}") == (
        "{[local] [bridge host ipvlan macvlan null] [] [json-file none]} map[estiva:{{estiva-oci []  map[]} map[]}]"
        " {0xc000000000 []  0xc000000000 []}"
    )
    of_client = box.out("version", "-f", "{{.Client}}")
    assert of_client.startswith("{<nil> ") and of_client.endswith(" default}")
    assert box.out("version", "-f", "{{.}}") == f"{{{of_client} 0xc000000000}}"
    assert box.out("version", "-f", "{{.Server.APIVersion}} {{.Server.Os}}") == "1.45 linux"
    assert box.out("info", "-f", "{{.Driver}}") in ("erofs", "dir")
    assert box.out("system", "check", "--deep").endswith("all is well")
    box.estiva("create", "--name", "idle", "--network", "none", IMAGE, "true")
    idle = box.out("inspect", "-f", "{{.Id}}", "idle")
    assert idle in box.out("container", "prune", "-f").splitlines()
    pruned = box.out("system", "prune", "-f", "--volumes").splitlines()
    assert pruned[-1].startswith("Total reclaimed space: ")
    assert box.out("ps", "-q") != ""
    assert box.out("images", "-q", IMAGE) != ""


def test_a_killed_monitor_is_swept_and_told(box, sleeper):
    container = box.out("inspect", "-f", "{{.Id}}", sleeper)
    pid = int(box.out("inspect", "-f", "{{.State.Pid}}", sleeper))
    monitor = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(monitor, 9)
    eventually(lambda: gone(monitor))
    done = box.estiva("system", "check")
    assert container[:12] in done.stdout and done.stdout.endswith("all is well\n")
    eventually(lambda: gone(pid))
    assert box.out("inspect", "-f", "{{.State.Running}}", sleeper) == "false"
