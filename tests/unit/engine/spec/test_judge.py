"""What can't be asked of a container, whoever asks: the words of the refusals, and what passes."""

import json
from pathlib import Path

import pytest

from estiva.engine.containers import update
from estiva.engine.spec import fields, judge
from estiva.engine.spec.defaults import MODES, RESOURCES
from estiva.engine.state import record, types
from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported

DOCKER = Path(__file__).parents[2] / "cli" / "options" / "golden" / "create.json"


def check(host=None, **config):
    judge.check({"Image": "box", **config}, host or {})


REFUSED = [
    ({"StopSignal": "NOSUCH"}, {}, "invalid signal: NOSUCH"),
    ({"StopSignal": "9" * 5000}, {}, "invalid signal: 9999"),
    ({"WorkingDir": "rel"}, {}, "the working directory 'rel' is invalid, it must be absolute"),
    ({"Env": ["=x"]}, {}, "invalid environment variable: =x"),
    ({"Env": [""]}, {}, "invalid environment variable: "),
    ({"Labels": {"": "x"}}, {}, "invalid label '=x': empty name"),
    ({"Hostname": "a b"}, {}, 'invalid hostname "a b"'),
    ({"Hostname": "#a"}, {}, 'invalid hostname "#a"'),
    ({"Hostname": "a" * 65}, {}, 'invalid hostname "aaa'),
    ({"Domainname": "a\nb"}, {}, r'invalid domain name "a\nb"'),
    ({"ExposedPorts": {"x": {}}}, {}, "invalid container port: x"),
    ({"Volumes": {"rel": {}}}, {}, "invalid volume specification: 'rel': mount path 'rel' must be absolute"),
    ({"StopTimeout": -5}, {}, "invalid stop timeout: -5"),
    ({"StopTimeout": 1 << 31}, {}, "Config.StopTimeout: 2147483648 is not a number from"),
    ({}, {"RestartPolicy": {"Name": "x"}}, "invalid restart policy: 'x'"),
    ({}, {"Runtime": "kata"}, "the runtime kata is not known here"),
    ({"Healthcheck": {"Test": ["TRY", "x"]}}, {}, "invalid test of a health check: TRY x"),
    ({"Healthcheck": {"Test": ["CMD"]}}, {}, "invalid test of a health check: CMD"),
    ({"Healthcheck": {"Interval": 5}}, {}, "Interval in Healthcheck cannot be less than 1ms"),
    ({"Healthcheck": {"StartPeriod": -1}}, {}, "StartPeriod in Healthcheck cannot be less than 1ms"),
    ({"Healthcheck": {"Retries": -1}}, {}, "Retries in Healthcheck cannot be negative"),
    ({"HealthcheckOnFailureAction": "x"}, {}, "invalid health check action: x"),
    ({}, {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, "invalid restart policy: 'always:3'"),
    ({}, {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}, "invalid restart policy"),
    ({}, {"Ulimits": [{"Name": "NOFILE", "Soft": 1, "Hard": 1}]}, "invalid ulimit type: NOFILE"),
    ({}, {"Ulimits": [{"Name": "core", "Soft": 5, "Hard": 3}]}, "soft limit must be less than or equal to hard"),
    ({}, {"Ulimits": [{"Name": "core", "Soft": -1, "Hard": 3}]}, "soft limit must be less than or equal to hard"),
    ({}, {"Ulimits": [{"Name": "core", "Soft": -5, "Hard": -5}]}, "invalid ulimit core: -5:-5"),
    ({}, {"Sysctls": {"kernel.panic": "1"}}, "sysctl 'kernel.panic=1' is not allowed"),
    ({}, {"Sysctls": {"kernel.hostname": "x"}}, "sysctl 'kernel.hostname=x' is not allowed"),
    ({}, {"Sysctls": {"kernel/domainname": "x"}}, "sysctl 'kernel/domainname=x' is not allowed"),
    ({}, {"Sysctls": {"net/../kernel/panic": "x"}}, "is not allowed"),
    ({}, {"Devices": [{"PathOnHost": "null"}]}, 'HostConfig.Devices[0].PathOnHost: "null" is not an absolute path'),
    ({}, {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "x"}]}, "x is not an absolute path"),
    ({}, {"Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": "rx"}]}, "bad mode specified: rx"),
    ({}, {"PortBindings": {"x": None}}, "invalid container port: x"),
    ({}, {"ConsoleSize": [1]}, "HostConfig.ConsoleSize is not [height, width]"),
    ({}, {"CapAdd": ["nosuch"]}, "nosuch is not a capability"),
    ({}, {"PidMode": "x"}, "--pid: invalid pid mode 'x'"),
    ({}, {"IpcMode": "container:"}, "--ipc: invalid ipc mode 'container:'"),
    ({}, {"UTSMode": "ns:rel"}, "--uts: ns:rel needs an absolute path"),
    ({}, {"SecurityOpt": ["x"]}, 'invalid --security-opt: "x"'),
    ({}, {"SecurityOpt": ["seccomp=rel.json"]}, "seccomp profile rel.json: its path must be absolute"),
    ({}, {"SecurityOpt": ["seccomp={"]}, "the seccomp profile is not valid json"),
    ({}, {"MaskedPaths": ["rel"]}, 'HostConfig.MaskedPaths[0]: "rel" is not an absolute path'),
    ({}, {"Memory": 1}, "minimum memory limit allowed is 6MB"),
    ({}, {"Memory": "64m"}, 'HostConfig.Memory: "64m" is not a number from'),
    ({}, {"KernelMemory": -1}, "invalid kernel memory limit -1"),
    ({}, {"CpuShares": 1}, "invalid cpu shares (1): the minimum is 2, the maximum 262144"),
    ({}, {"CpuShares": -1}, "invalid cpu shares (-1): the minimum is 2, the maximum 262144"),
    ({}, {"CpuShares": 262145}, "invalid cpu shares (262145): the minimum is 2, the maximum 262144"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "host", "message"), REFUSED, ids=[row[2][:60] for row in REFUSED])
def test_refused(config, host, message):
    with pytest.raises(InvalidInput) as caught:
        check(host, **config)
    assert message in caught.value.message and len(caught.value.message) < 1000


LATER = [
    ({"MacAddress": "02:42:ac:11:00:02"}, {}, "Config.MacAddress is not supported yet"),
    ({"NetworkDisabled": True}, {}, "Config.NetworkDisabled is not supported yet"),
    ({}, {"StorageOpt": {"size": "1g"}}, "HostConfig.StorageOpt is not supported yet"),
    ({}, {"CpuCount": 1}, "HostConfig.CpuCount is not supported yet"),
    ({}, {"LogConfig": {"Type": "fluentd"}}, "the log driver fluentd is not supported"),
    ({}, {"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "tcp+tls://h"}}}, "syslog-address=tcp+tls:// is not"),
    ({}, {"LogConfig": {"Type": "syslog", "Config": {"syslog-tls-cert": "x"}}}, "the log option syslog-tls-cert is not"),
    ({}, {"NetworkMode": "container:"}, "network 'container:' is not available"),
    ({}, {"UsernsMode": "nomap"}, "--userns nomap is for containers of ordinary users"),
    ({}, {"Mounts": [{"Type": "bind", "Target": "/x", "Source": "/", "BindOptions": {"New": True}}]},
     "HostConfig.Mounts[0].BindOptions.New is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "host", "message"), LATER, ids=[row[2] for row in LATER])
def test_what_is_not_there_yet_is_said(config, host, message):
    with pytest.raises(Unsupported) as caught:
        check(host, **config)
    assert caught.value.message.startswith(message)


def test_a_container_that_is_removed_is_not_restarted():
    with pytest.raises(Conflict, match="conflicting options: --restart and --rm"):
        check({"AutoRemove": True, "RestartPolicy": {"Name": "always"}})


def test_a_seccomp_profile_is_read_before_anything_is_made(tmp_path):
    with pytest.raises(NotFound, match="opening seccomp profile .*nosuch.* failed: no such file"):
        check({"SecurityOpt": [f"seccomp={tmp_path}/nosuch"]})
    (tmp_path / "good").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    check({"SecurityOpt": [f"seccomp={tmp_path}/good"]})
    check({"SecurityOpt": ['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']})


GOOD = [
    ({}, {}),
    ({"Cmd": None, "Env": ["A", "B=", "C=a=b", "D=\udcff"], "StopTimeout": -1, "StopSignal": "SIGRTMIN+3"}, {}),
    ({"Healthcheck": {"Test": ["NONE"]}}, {}),
    ({"Healthcheck": {"Test": ["CMD", "true"], "Retries": 2}, "HealthcheckOnFailureAction": "kill"}, {}),
    ({}, {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    ({}, {"RestartPolicy": {"Name": "unless-stopped"}}),
    ({"Healthcheck": {"Test": [], "Interval": 0}, "MacAddress": "", "Labels": None}, {}),
    ({"ExposedPorts": {"80/tcp": {}, "53/udp": None}}, {"PublishAllPorts": True}),
    ({}, {"RestartPolicy": {"Name": ""}, "LogConfig": {"Type": "", "Config": {}}, "Runtime": ""}),
    ({}, {"RestartPolicy": {"Name": "no"}, "LogConfig": {"Type": "none"}, "AutoRemove": True}),
    ({}, {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": -1}, {"Name": "core"}]}),
    ({}, {"Sysctls": {"net.ipv4.ip_forward": "1", "kernel/shmmax": "5", "fs.mqueue.msg_max": "7"}}),
    ({}, {"NetworkMode": ""}),
    ({}, {"NetworkMode": "default", "PidMode": "host", "IpcMode": "shareable", "UTSMode": "ns:/proc/1/ns/uts"}),
    ({}, {"UsernsMode": "container:x", "NetworkMode": "container:x", "CgroupnsMode": "private"}),
    ({}, {"CapAdd": ["ALL"], "CapDrop": ["net_raw", "CAP_CHOWN"]}),
    ({}, {"CpuShares": 2, "Memory": 6 << 20, "PidsLimit": -1, "MemorySwappiness": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "host"), GOOD, ids=[str(row)[:60] for row in GOOD])
def test_taken(config, host):
    check(host, **config)


def test_what_docker_s_command_line_sends_is_taken():
    base = json.loads(DOCKER.read_text())[0]
    judge.check(base["config"], base["host"])


def test_what_inspect_shows_can_be_asked_for_again():
    config = record.merge({"Image": "box"}, {"config": {"Cmd": ["true"]}})
    made = record.new("f" * 64, "x", None, config, {"NetworkMode": "bridge"}, [])
    record.complete(made)
    judge.check(made["Config"], made["HostConfig"])


def test_every_field_that_is_read_somewhere_has_a_rule():
    assert set(record.HOST_DEFAULTS) | RESOURCES | MODES | set(update.KEYS) <= set(fields.HOST)
    assert set(record.CONFIG_DEFAULTS) <= set(fields.CONFIG)
    known = {name.rstrip("!") for name in (*fields.CONFIG, *fields.HOST)}
    assert set(types.Config.__annotations__) | set(types.HostConfig.__annotations__) <= known


def test_an_update_s_policy():
    judge.check_update({"RestartPolicy": {"Name": "no"}, "Memory": 1})
    with pytest.raises(InvalidInput, match="invalid restart policy: 'x'"):
        judge.check_update({"RestartPolicy": {"Name": "x"}})


def test_warnings_are_events():
    told = []
    judge.warn({"KernelMemory": 64 << 20}, told.append)
    assert [event["status"] for event in told] == ["warning"]
    assert "the kernel memory limit has no effect" in told[0]["message"]
    judge.warn({"NetworkMode": "none"}, told.append)
    assert len(told) == 1
