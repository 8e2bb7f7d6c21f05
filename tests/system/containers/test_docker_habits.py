"""Command lines that people bring along from Docker, and what scripts read out of their answers."""

import json
from pathlib import Path

import pytest

from enginekit import IMAGE, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def run(box, *words, **options):
    return box.out("run", "--rm", "--network", "none", *words, **options)


def test_groups_are_added_to_root_s_own_by_name_and_number(box):
    assert run(box, "--group-add", "44", "--group-add", "extra", IMAGE, "id", "-G").split() == [
        "0",
        "44",
        "2000",
    ]
    done = box.estiva("run", "--rm", "--group-add", "nosuch", IMAGE, "true", status=125)
    assert "'nosuch'" in done.stderr


@pytest.mark.parametrize("removed", [True, False])
def test_wait_prints_the_status_also_of_what_removes_itself(box, removed):
    words = ["--rm"] if removed else []
    script = "sleep 1; exit 4"
    container = box.out("run", "-d", *words, "--network", "none", IMAGE, "sh", "-c", script)
    assert box.out("wait", container) == "4"
    assert (box.out("ps", "-aq") == "") == removed
    box.estiva("rm", "-f", container)


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ((), "exec >/dev/null 2>&1; sleep 1; exit 4"),
        (("-t",), "sleep 1; exit 4"),
        ((), "usleep 300000; exit 4"),  # about when its monitor goes to sleep
    ],
)
def test_the_status_of_a_detached_one_is_never_lost(box, words, script):
    container = box.out("run", "-d", *words, "--network", "none", IMAGE, "sh", "-c", script)
    assert box.out("wait", container) == "4"
    assert box.out("inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", container) == "4 "
    box.estiva("rm", container)


def test_inspect_has_docker_s_fields_though_nothing_was_asked(box):
    container = box.out("create", "-m", "64m", IMAGE, "true")
    fields = (
        "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}"
        " {{.HostConfig.Privileged}} {{.Config.Tty}} {{json .Config.Labels}}"
    )
    assert box.out("inspect", "-f", fields, container) == "67108864 134217728 0 no false false {}"
    assert json.loads(box.out("inspect", container))[0]["HostConfig"]["LogConfig"]["Type"] == "json-file"
    box.estiva("rm", container)


def test_an_image_of_another_platform_is_not_run_as_this_one(box):
    done = box.estiva(
        "run", "--rm", "--pull", "never", "--platform", "linux/s390x", IMAGE, "true", status=125
    )
    assert "linux/s390x" in done.stderr
    mine = box.out("inspect", "-f", "{{.Os}}/{{.Architecture}}", IMAGE)
    assert run(box, "--pull", "never", "--platform", mine, IMAGE, "echo", "fits") == "fits"


def test_the_error_of_init_is_told_rather_than_the_network_s(box):
    """On the bridge, where the network is plugged into a netns that is going away."""
    words = ["run", "--rm", "--workdir", "/etc/passwd", IMAGE, "true"]
    assert "/etc/passwd" in box.estiva(*words, status=125).stderr


def test_an_unknown_stop_signal_is_refused_before_anything_is_made(box):
    box.estiva("run", "--stop-signal", "NOSUCH", IMAGE, "true", status=125)
    assert box.out("ps", "-aq") == ""


def test_init_shows_nothing_of_the_host(box):
    script = "sed 's/\\x00/ /g' /proc/1/cmdline; cat /proc/1/comm; cat /proc/1/environ 2>&1; true"
    text = run(box, "--init", "-e", "TOKEN=secret", IMAGE, "sh", "-c", script)
    assert text.startswith("estiva-init")
    assert "launcher" not in text and "secret" not in text and "ESTIVA_ROOT" not in text


def test_the_build_cache_goes_at_once_with_what_only_it_kept(box, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo data > /data\n")
    build = ["build", "-q", "--network", "none", "-t", "cached:1", tmp_path]
    first = box.out(*build)
    assert box.out(*build) == first
    layer = json.loads(box.out("image", "inspect", "-f", "{{json .RootFS.Layers}}", first))[-1]
    kept = f"{box.folder}/root/layers/{layer.partition(':')[2]}"
    box.estiva("rmi", "cached:1")
    assert Path(kept).exists()
    assert "Total reclaimed space:" in box.out("builder", "prune", "-f")
    assert not Path(kept).exists()
    assert box.out("build", "-q", "--network", "none", tmp_path) != first
    box.estiva("builder", "prune", "-af")
    assert box.out("images", "-q", "--filter", "dangling=true") != ""  # images stay
    box.estiva("image", "prune", "-f")


@pytest.mark.parametrize("words", [["context", "ls"]])
def test_verbs_that_are_not_there_yet_say_so(box, words):
    assert "is not supported yet" in box.estiva(*words, status=1).stderr


def test_ancestors_by_name_with_and_without_tag_by_id_and_by_layers(box):
    for name in ("root:latest", "root:1", "same:9"):
        box.estiva("tag", IMAGE, name)
    box.image("child:1", source="root:1")
    for name, image in (("one", "root:1"), ("late", "root"), ("same", "same:9"), ("child", "child:1")):
        box.estiva("create", "--name", name, image, "true")
    image_id = box.out("images", "-q", "--no-trunc", "root:1")

    def ancestors(*values):
        words = [word for value in values for word in ("--filter", f"ancestor={value}")]
        return sorted(box.out("ps", "-a", "--format", "{{.Names}}", *words).split())

    everyone = ["child", "late", "one", "same"]
    for value in (
        "root",
        "root:1",
        "root:latest",
        "same:9",
        "docker.io/library/root:1",
        image_id,
        image_id[7:19],
    ):
        assert ancestors(value) == everyone, value
    assert ancestors("child:1") == ancestors("child:1", "nosuch") == ["child"]
    for value in ("same", "child", "nosuch", "BAD::", "", "root:2"):
        assert ancestors(value) == [], value
    box.estiva("rm", *everyone)
    box.estiva("rmi", "root:1", "root", "same:9", "child:1")


def test_images_aq_has_each_image_once(box):
    """So that `rmi $(images -aq)` does not meet one a second time."""
    for name in ("twice:1", "twice:2"):
        box.estiva("tag", IMAGE, name)
    ids = box.out("images", "-aq").split()
    assert ids and len(ids) == len(set(ids))
    assert len(box.out("images", "-a", "--format", "{{.ID}}").split()) >= 3
    box.estiva("rmi", "twice:1", "twice:2")


def test_exposed_ports_are_told_while_it_runs(box):
    words = ("--expose", "90", "--expose", "91", "-p", "8070:80", "-p", "8071:71", IMAGE)
    container = box.out("run", "-d", *words, "sleep", "1000")
    exposed = "90-91/tcp, 0.0.0.0:8071->71/tcp, 0.0.0.0:8070->80/tcp"
    assert box.out("ps", "--format", "{{.Ports}}") == exposed
    ports = json.loads(box.out("inspect", "-f", "{{json .NetworkSettings.Ports}}", container))
    assert list(ports) == ["71/tcp", "80/tcp", "90/tcp", "91/tcp"] and ports["90/tcp"] is None
    assert box.out("port", container).splitlines() == ["71/tcp -> 0.0.0.0:8071", "80/tcp -> 0.0.0.0:8070"]
    assert box.estiva("port", container, "90", status=1).stdout == ""
    box.estiva("stop", "-t", "0", container)
    assert box.out("ps", "-a", "--format", "{{.Ports}}") == ""
    assert box.out("inspect", "-f", "{{json .NetworkSettings.Ports}}", container) == "{}"
    box.estiva("rm", container)


def test_host_gateway_is_the_bridge(box):
    words = ("run", "--rm", "--add-host", "up:host-gateway", IMAGE, "sh", "-c")
    script = "grep up /etc/hosts | cut -f1; ip route 2>/dev/null | grep default | cut -d' ' -f3"
    address, *route = box.out(*words, script).splitlines()
    assert address.endswith(".0.1") and route in ([], [address])
    assert "is not an address" not in box.estiva(*words, "true").stderr


def test_a_bind_that_is_not_recursive_leaves_out_what_is_mounted_in_it(box, tmp_path):
    import subprocess

    inside = tmp_path / "inside"
    inside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inside)], check=True)
    try:
        (inside / "secret").write_text("x")
        mount = f"type=bind,src={tmp_path},dst=/x"
        assert run(box, "--mount", mount, IMAGE, "ls", "/x/inside") == "secret"
        assert run(box, "--mount", f"{mount},bind-nonrecursive", IMAGE, "ls", "/x/inside") == ""
        script = "touch /x/y 2>&1; true"
        said = run(box, "--mount", f"{mount},bind-nonrecursive,ro", IMAGE, "sh", "-c", script)
        assert "Read-only" in said
    finally:
        subprocess.run(["umount", str(inside)], check=True)


def test_a_volume_has_the_labels_that_its_mount_gives(box):
    run(box, "--mount", "type=volume,src=labelled,dst=/x,volume-label=a=b", IMAGE, "true")
    assert json.loads(box.out("volume", "inspect", "labelled"))[0]["Labels"] == {"a": "b"}
    box.estiva("volume", "rm", "labelled")


def test_lists_show_one_label_and_quiet_wins_over_a_format(box):
    name = box.out("create", "--name", "labelled", "-l", "com.ex.my-key=a", "-l", "b=2", IMAGE, "true")
    box.out("volume", "create", "--label", "b=3", "labelled")
    box.image("labelled:1", ["LABEL b=4"])
    lists = (
        ("ps", "-a", "-f", "name=^labelled$"),
        ("images", "labelled"),
        ("volume", "ls", "-f", "name=labelled"),
    )
    for words, value in zip(lists, "243", strict=True):
        assert box.out(*words, "--format", '{{.Label "b"}}|{{.Label "none"}}') == f"{value}|"
    heading, row = box.out(*lists[0], "--format", 'table {{.Names}}\t{{.Label "com.ex.my-key"}}').splitlines()
    assert (heading.split(), row.split()) == (["NAMES", "my", "key"], ["labelled", "a"])
    plain = box.estiva(*lists[0], "-q")
    both = box.estiva(*lists[0], "-q", "--format", "{{.Nothing}}")
    assert both.stdout == plain.stdout != "" and plain.stderr == ""
    warning = "Ignoring custom format, because both --format and --quiet are set."
    assert both.stderr == f"WARNING: {warning}\n"
    for words in (*lists[1:], ("network", "ls")):  # of docker's lists that of containers alone ignores it
        plain = box.estiva(*words, "-q")
        assert box.out(*words, "-q", "--format", "table") == plain.stdout.rstrip()
        both = box.estiva(*words, "-q", "--format", "a {{.Driver}}" if "ls" in words else "a {{.Repository}}")
        lines = both.stdout.splitlines()
        assert len(lines) == len(plain.stdout.splitlines()) and all(line.startswith("a ") for line in lines)
        assert (plain.stderr, both.stderr) == ("", "")
    box.estiva("rm", name)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{.Type}}={{.Name}};{{end}}", "bind=;"),
        ("{{.NetworkSettings.SandboxKey}}|{{.NetworkSettings.GlobalIPv6Address}}", "|"),
        ("{{.NetworkSettings.Networks.bridge.NetworkID}}|{{.NetworkSettings.Networks.other}}", "|<no value>"),
        (
            "{{.HostConfig.Init}} {{json .HostConfig.Mounts}} {{.HostConfig.ConsoleSize}}",
            "<nil> null [0 0]",
        ),
        ("{{.Config.StopSignal}}{{.Config.Healthcheck}}", "<nil>"),
        ("{{.HostConfig.Links}} {{.HostConfig.RestartPolicy}} {{.HostConfig.Sysctls}}", "[] {no 0} map[]"),
        ("{{.NetworkSettings.Networks.bridge.Aliases}}", "[]"),
        ("{{if and (gt .State.Pid 0) .State.Running}}up{{else}}down{{end}}", "down"),
    ],
)
def test_what_is_empty_has_a_value_in_templates(box, template, text):
    container = box.out("create", "-v", f"{box.folder}:/x", IMAGE, "true")
    assert box.out("inspect", "-f", template, container) == text
    shown = json.loads(box.out("inspect", container))[0]
    assert (
        "Health" not in shown["State"]
        and "Name" not in shown["Mounts"][0]
        and "Init" not in shown["HostConfig"]
    )
    box.estiva("rm", container)


def test_images_and_the_engine_have_docker_s_fields_too(box):
    assert (
        box.out("image", "inspect", "-f", "{{.DockerVersion}}|{{.Variant}}|{{.Config.Healthcheck}}", IMAGE)
        == "||<nil>"
    )
    assert "no field .Nothing" in box.estiva("inspect", "-f", "{{.Nothing}}", IMAGE, status=1).stderr
    root = json.loads(box.out("info", "-f", "json"))["EstivaRootDir"]
    template = "{{.DockerRootDir}} {{.LoggingDriver}} {{range $name, $r := .Runtimes}}{{$name}}{{end}} {{.Runtimes.runc}} {{.MemoryLimit}}"
    assert box.out("info", "--format", template) == f"{root} json-file estiva <no value> true"


@pytest.mark.parametrize("verb", ["run", "create"])
@pytest.mark.parametrize("mode", ["host", "none"])
def test_ports_that_no_network_publishes_are_told(box, verb, mode):
    words = (verb, "--name", "discarded", "--network", mode)
    done = box.estiva(*words, "-p", "80:80", IMAGE, "true")
    assert done.stderr == f"WARNING: Published ports are discarded when using {mode} network mode\n"
    box.estiva("rm", "discarded")
    assert box.estiva(*words, IMAGE, "true").stderr == ""
    box.estiva("rm", "discarded")


def test_the_name_with_its_domain_comes_first_in_the_hosts_file(box):
    hosts = run(box, "-h", "h", "--domainname", "ex.org", IMAGE, "cat", "/etc/hosts", "/etc/hostname")
    assert hosts.splitlines()[-2:] == ["127.0.0.1\th.ex.org h", "h"]


def test_a_stop_timeout_is_seconds_or_none(box):
    done = box.estiva("create", "--stop-timeout", "-5", IMAGE, "true", status=125)
    assert done.stderr.splitlines()[0] == "estiva: invalid stop timeout: -5"
    container = box.out("create", "--stop-timeout", "-1", IMAGE, "true")
    assert box.out("inspect", "-f", "{{.Config.StopTimeout}}", container) == "-1"
    box.estiva("rm", container)


def test_a_detached_one_that_cannot_start_is_printed_for_it_stays(box):
    done = box.estiva("run", "-d", "--network", "none", IMAGE, "/no/such", status=127)
    container = done.stdout.strip()
    assert box.out("inspect", "-f", "{{.State.ExitCode}}", container) == "127"
    box.estiva("rm", container)
    assert box.estiva("create", "no-such-image:1", "true", status=1).stdout == ""


def test_a_detached_exec_holds_nothing_of_its_caller_s(box):
    box.out("run", "-d", "--name", "held", "--network", "none", IMAGE, "sleep", "100")
    box.estiva("exec", "-d", "held", "sleep", "1000", timeout=100)  # whose output is read to its end
    box.estiva("rm", "-f", "held")


def test_exec_has_the_container_s_own_term(box):
    box.out("run", "-d", "--name", "term", "-e", "TERM=foo", "--network", "none", IMAGE, "sleep", "100")
    assert box.out("exec", "term", "sh", "-c", "echo $TERM") == "foo"
    box.estiva("rm", "-f", "term")


def test_an_answer_may_come_from_a_pipe(box):
    box.out("volume", "create", "answered")
    box.estiva("volume", "prune", "-a", input="n\n")
    assert "answered" in box.out("volume", "ls", "-q").split()
    box.estiva("volume", "prune", "-a", input="y\n")
    assert "answered" not in box.out("volume", "ls", "-q").split()


def test_lists_by_name_are_in_natural_order(box):
    for number in ("10", "9"):
        box.estiva("volume", "create", f"order{number}")
        box.estiva("network", "create", f"order{number}")
    for kind in ("volume", "network"):
        assert box.out(kind, "ls", "-f", "name=order", "--format", "{{.Name}}").split() == [
            "order9",
            "order10",
        ]
        box.estiva(kind, "rm", "order9", "order10")


def test_ps_quotes_arguments_with_spaces(box):
    script = "echo out;  exit 3"
    container = box.out("create", IMAGE, "sh", "-c", script, "x")
    shown = ("--filter", f"id={container}", "--format", "{{.Command}}")
    assert box.out("ps", "-a", "--no-trunc", *shown) == f"\"sh -c '{script}' x\""
    assert box.out("ps", "-a", *shown) == '"sh -c \'echo out;  e…"'
    box.estiva("rm", container)


def test_on_the_host_s_network_its_hosts_file_holds(box):
    """But where names are added, as with Docker."""
    show = (IMAGE, "cat", "/etc/hosts")
    assert box.out("run", "--rm", "--network", "host", *show) == Path("/etc/hosts").read_text().rstrip("\n")
    with_names = box.out("run", "--rm", "--network", "host", "--add-host", "a:1.2.3.4", *show)
    assert "1.2.3.4\ta" in with_names and "ip6-allrouters" in with_names


def test_start_ends_with_docker_s_statuses(box):
    """1 for whatever keeps it from starting, attached or not; the command's own otherwise."""
    broken = box.out("create", "--network", "none", IMAGE, "nosuch")
    four = box.out("create", "--network", "none", IMAGE, "sh", "-c", "exit 4")
    for words in ((), ("-a",), ("-i",), ("-ai",)):
        box.estiva("start", *words, broken, status=1)
        box.estiva("start", *words, "nobody", status=1)
    box.estiva("start", "-a", four, broken, status=1)
    for words in (("-a",), ("-i",), ("-ai",)):
        box.estiva("start", *words, four, status=4, input="")
    box.estiva("start", "--bogus", four, status=125)
    box.estiva("rm", broken, four)


def test_create_ends_with_1_for_what_only_the_daemon_knows(box):
    for words, said in (
        (("--name", "bad name"), "invalid container name"),
        (("--mount", f"type=bind,src={box.folder}/none,dst=/x"), "bind source path does not exist"),
    ):
        assert said in box.estiva("create", *words, IMAGE, "true", status=1).stderr
        assert said in box.estiva("run", *words, IMAGE, "true", status=125).stderr
    assert "no-such-flag" in box.estiva("create", "--no-such-flag", IMAGE, "true", status=125).stderr


def test_attach_to_a_terminal_wants_one_where_nobody_reads_it_either(box):
    for words in ((), ("-i",)):
        box.estiva("run", "-dt", *words, "--name", "term", "--network", "none", IMAGE, "sleep", "1000")
        assert "the input device is not a TTY" in box.estiva("attach", "term", status=1).stderr
        child = box.start("attach", "--no-stdin", "term")
        box.estiva("kill", "term")
        assert child.wait(60) in (137, 1)  # it may have come too late
        box.estiva("rm", "term")


def test_details_of_lines_without_any_are_a_space(box):
    box.estiva("run", "--name", "plain", "--network", "none", IMAGE, "sh", "-c", 'echo a; echo "\\"b\\""')
    labelled = ("-l", "k=v 2", "--log-opt", "labels=k")
    box.estiva("run", "--name", "said", *labelled, "--network", "none", IMAGE, "echo", "a")
    assert box.out("logs", "--details", "plain") == ' a\n "b"' and box.out("logs", "plain") == 'a\n"b"'
    assert box.out("logs", "--details", "said") == "k=v+2 a"
    assert box.out("logs", "--details", "-t", "plain").splitlines()[0].endswith("Z  a")
    box.estiva("rm", "plain", "said")


def test_events_of_a_command_that_is_missing_and_of_a_name_that_goes(box):
    box.estiva("run", "-d", "--name", "it", "--network", "none", IMAGE, "sleep", "1000")
    for command in ("nosuch", "/etc"):
        box.estiva("exec", "it", command, status=126)
    events = box.out("events", "--since", "10m", "--until", "0s", "--filter", "container=it")
    for command in ("nosuch", "/etc"):
        found = [line.split()[2] for line in events.splitlines() if f": {command} " in line]
        assert found == ["exec_create:", "exec_start:"]
    box.estiva("tag", IMAGE, "other:2")
    box.estiva("rmi", "other:2")
    image = box.out("image", "inspect", "-f", "{{.Id}}", IMAGE)
    events = box.out("events", "--since", "10m", "--until", "0s", "--filter", "event=untag").splitlines()
    assert events[-1].endswith(f" image untag {image} (name={image})")
    box.estiva("rename", "it", "now")
    box.estiva("pause", "now")
    assert "container now is paused" in box.estiva("exec", "now", "true", status=1).stderr
    box.estiva("unpause", "now")
    box.estiva("rm", "-f", "now")


def test_a_container_that_starts_again_keeps_its_address(box):
    def address(name):
        return box.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)

    for name in ("one", "two"):
        box.estiva("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    before = address("one")
    box.estiva("restart", "-t", "0", "one")
    assert address("one") == before
    box.estiva("stop", "-t", "0", "one", "two")
    box.estiva("start", "two")
    box.estiva("start", "one")
    assert address("one") == before and address("two") not in (before, "")
    box.estiva("stop", "-t", "0", "one")
    box.db(f"INSERT INTO leases (network, address, container) VALUES ('default', '{before}', 'another')")
    box.estiva("start", "one")
    assert address("one") not in (before, "")
    box.db("DELETE FROM leases WHERE container = 'another'")
    box.estiva("rm", "-f", "one", "two")
