"""The translation of run's options, against what Docker 26's own command line sends to its daemon.

golden/create.json holds one case a line: the words, and the Config and HostConfig that `docker create` sent,
less what it sends without options (the first entry).
"""

import json
import os
import shlex
from pathlib import Path

import pytest

from estiva.cli.container.run import RUN
from estiva.cli.options.run import translate
from estiva.cmdline.parser import UsageError, parse
from estiva.engine.spec import judge
from estiva.errors import EstivaError, InvalidInput, NotFound, Unsupported

BASE, *CASES = json.loads((Path(__file__).parent / "golden" / "create.json").read_text())
WHERE = "/tmp/cli/w"  # the directory in which the cases were recorded


@pytest.fixture
def files(tmp_path, monkeypatch):
    (tmp_path / "env.list").write_text("# comment\nA=1\nB=two words\n\nHOSTVAR\nABSENT\n  LEAD=x\n")
    (tmp_path / "label.list").write_text("a=b\nc\n#x\n")
    (tmp_path / "seccomp.json").write_text('{ "defaultAction": "SCMP_ACT_ERRNO",\n "syscalls": [] }\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOSTVAR", "from the host")
    monkeypatch.delenv("ABSENT", raising=False)
    return tmp_path


def words(line):
    return parse(RUN.options, shlex.split(line), interspersed=False)


def judged(line):
    """What the engine is asked, as it judges it before it does anything; warnings are looked for too."""
    config, host = translate(words(line))
    judge.check(config, host)
    judge.warn(host, lambda event: None)


def differences(given, base):
    """What `given` says that is not the default; order of lists of independent things doesn't count."""
    result = {}
    for key, value in given.items():
        if value == base.get(key) or not value and not base.get(key) and key not in ("Init", "StopTimeout"):
            continue
        result[key] = sorted(value) if key in ("Env", "Binds") else value
    return result


@pytest.mark.parametrize("case", CASES, ids=[case["line"] for case in CASES])
def test_translation_is_docker_s(case, files):
    config, host = translate(words(case["line"]))
    expected_config = differences(case["config"], BASE["config"])
    expected_host = differences(case["host"], BASE["host"])
    text = json.dumps(expected_host).replace(WHERE, str(files))
    expected_host = differences(json.loads(text), BASE["host"])
    for mount in expected_host.get("Mounts", ()):
        mount.get("VolumeOptions", {}).pop("DriverConfig", None)
    if "seccomp.json" in case["line"]:  # kept as a path, so that a record stays small
        expected_host["SecurityOpt"] = [f"seccomp={files}/seccomp.json", "no-new-privileges"]
    if "--label-file" in case["line"]:
        # Docker 26 passes over a line with a key alone, which its documentation allows
        expected_config["Labels"] = {"a": "z", "c": ""}
    assert differences(config, BASE["config"]) == expected_config
    assert differences(host, BASE["host"]) == expected_host


REFUSED = [
    ("-m 1x a", 'invalid argument "1x" for "-m, --memory" flag: invalid size: \'1x\''),
    ("-m 4m a", "minimum memory limit allowed is 6MB"),
    ("--memory-swap 64m a", "you should always set the memory limit when using memory swap limit"),
    ("-m 64m --memory-swap 32m a", "minimum memory swap limit should be larger than memory limit"),
    (
        "-m 64m --memory-reservation 128m a",
        "minimum memory limit can not be less than memory reservation limit",
    ),
    ("-e =x a", "invalid environment variable: =x"),
    ("--env-file nofile a", "can't read nofile: no such file or directory"),
    ("-v :/x a", "invalid spec: :/x: empty section between colons"),
    ("-v /a:/b:bad a", "invalid mode: bad"),
    ("-v a:b:c:d a", "invalid volume specification: 'a:b:c:d'"),
    ("-v /a:b a", "invalid volume specification: '/a:b': mount path 'b' must be absolute"),
    ("-v /a:/ a", "invalid volume specification: '/a:/': destination can't be '/'"),
    ("-v ./sub:/.. a", "invalid volume specification: '{here}/sub:/..': destination can't be '/'"),
    ("--mount type=bind a", 'invalid argument "type=bind" for "--mount" flag: target is required'),
    ("--mount foo,dst=/a a", "invalid field 'foo' must be a key=value pair"),
    ("--mount type=bind,foo=b a", "unexpected key 'foo' in 'foo=b'"),
    ("--mount type=bad,dst=/b a", "mount type unknown: 'bad'"),
    ("--mount type=bind,src=/a,dst=/b,ro=x a", "invalid value for ro: x"),
    ("--mount type=tmpfs,dst=/b,tmpfs-mode=9 a", "invalid value for tmpfs-mode: 9"),
    ("--mount type=volume,src=vol,dst=/b,volume-opt=o=x a", 'volume vol: missing required option: "device"'),
    ("--mount type=bind,dst=/t a", 'invalid mount config for type "bind": field Source must not be empty'),
    ("--mount type=bind,src=rel,dst=/b a", "invalid mount path: 'rel' mount path must be absolute"),
    (
        "--mount type=bind,src=/a,dst=/b,tmpfs-size=1m a",
        "cannot mix 'tmpfs-*' options with mount type 'bind'",
    ),
    ("--mount 'type=bind,\"src=/a' a", "a quote is not closed"),
    ("--mount 'type=bind,\"src=/a\"x,dst=/b' a", "text after a closing quote"),
    ("--mount type=volume,dst=/b,volume-driver=nfs a", "the volume driver nfs is not known here"),
    ("--ulimit x a", "invalid ulimit argument: x"),
    ("--ulimit foo=1 a", "invalid ulimit type: foo"),
    ("--ulimit nofile=5:3 a", "ulimit soft limit must be less than or equal to hard limit: 5 > 3"),
    ("--cpus x a", "failed to parse x as a decimal number"),
    ("--cpus 0.0000000001 a", "value is too precise"),
    ("--cpus 4096 a", "range of cpus is from 0.01 to"),
    ("--cpus 1 --cpu-quota 5000 a", "conflicting options: --cpus and --cpu-period or --cpu-quota"),
    ("-c x a", 'invalid argument "x" for "-c, --cpu-shares" flag: not a whole number'),
    ("-p a a", "invalid containerPort: a"),
    ("-p 1:2:3:4 a", "invalid IP address: 1:2"),
    ("-p 80-81:80-85 a", "invalid ranges specified for container and host ports: 80-85 and 80-81"),
    ("-p 300.1.1.1:80:80 a", "invalid IP address: 300.1.1.1"),
    ("-p 80/foo a", "invalid proto: foo"),
    ("-p 70000 a", "invalid containerPort: 70000"),
    ("-p '' a", "no port specified: <empty>"),
    ("-p x:80 a", "invalid hostPort: x"),
    ("-p 90-80:90-80 a", "invalid containerPort: 90-80"),
    ("--expose a:b a", "invalid port format for --expose: a:b"),
    ("--expose x a", "invalid range format for --expose: x"),
    ("--dns x a", "IP address is not correctly formatted: x"),
    ("--dns-search 'a b' a", "a b is not a valid domain"),
    ("--add-host x a", 'bad format for add-host: "x"'),
    ("--add-host a:b a", 'invalid IP address in add-host: "b"'),
    ("--device x a", "x is not an absolute path"),
    ("--device /a:/b:q a", "bad mode specified: q"),
    ("--sysctl kernel.panic=1 a", "sysctl 'kernel.panic=1' is not allowed"),
    ("--pid foo a", "--pid: invalid pid mode 'foo'"),
    ("--security-opt systempaths=x a", 'invalid --security-opt: "systempaths=x"'),
    ("--security-opt mask=rel a", 'invalid --security-opt: "mask=rel"'),
    ("--security-opt foo a", 'invalid --security-opt: "foo"'),
    (
        "--security-opt seccomp=nofile a",
        "opening seccomp profile ({here}/nofile) failed: no such file or directory",
    ),
    ("-a foo a", "valid streams are stdin, stdout and stderr"),
    ("--rm=maybe a", 'invalid argument "maybe" for "--rm" flag: not true or false'),
    ("--rm --restart always a", "conflicting options: --restart and --rm"),
    ("--restart on-failure:x a", "invalid restart policy: 'on-failure:x'"),
    ("--restart always:3 a", "invalid restart policy: 'always:3'"),
    ("--health-cmd x --no-healthcheck a", "--no-healthcheck conflicts with --health-* options"),
    ("--health-interval=-1s a", "--health-interval cannot be negative"),
    (
        "--health-interval soon a",
        'invalid argument "soon" for "--health-interval" flag: invalid duration: \'soon\'',
    ),
    ("--health-timeout 10us a", "Timeout in Healthcheck cannot be less than 1ms"),
    ("--health-retries=-2 a", "--health-retries cannot be negative"),
    ("--health-on-failure explode a", "invalid health check action: explode"),
    ("--gpus some a", 'invalid count (some): value must be either "all" or an integer'),
    ("--gpus foo=1 a", "unexpected key 'foo' in 'foo=1'"),
    ("--gpus 'count=1,device=0' a", "cannot set both count and device"),
    ("--device vendor.com/=x a", "vendor.com/=x is not the name of a device"),
    ("--blkio-weight 5 a", "range of blkio weight is from 10 to 1000"),
    ("--blkio-weight-device /dev/x:5 a", "invalid weight for device: /dev/x:5"),
    ("--blkio-weight-device x:50 a", "bad format for device path: x:50"),
    ("--device-read-bps /dev/x a", "bad format: /dev/x"),
    ("--device-read-bps /dev/x:y a", "invalid rate for device: /dev/x:y"),
    ("--device-write-iops /dev/x:1k a", "invalid rate for device: /dev/x:1k"),
    ("--device-read-iops /dev/null:1 a", "/dev/null is not a block device"),
    ("--device-read-iops /dev/nosuch:1 a", "device /dev/nosuch can't be used: no such file or directory"),
    ("--device-cgroup-rule x a", "'x' is not a device rule"),
    ("--cpuset-cpus 0-4000 a", "requested CPUs are not available - requested 0-4000, available: "),
    ("--cpuset-cpus 1,-2 a", "invalid value 1,-2 for cpuset cpus"),
    ("--cpuset-cpus 99999999999999 a", "invalid value 99999999999999 for cpuset cpus"),
    ("--cpuset-mems 900 a", "requested memory nodes are not available - requested 900, available: "),
    ("--cpu-rt-runtime 5000 --cpu-rt-period 4000 a", "runtime cannot be higher than cpu real-time period"),
    ("--cpu-shares 300000 a", "invalid cpu shares (300000): the minimum is 2, the maximum 262144"),
    ("--cpu-period 10 a", "cpu cfs period can not be less than 1ms"),
    ("--cpu-quota -5 a", "cpu cfs quota can not be less than 1ms"),
    ("--memory-swappiness 101 a", "valid memory swappiness range is 0-100"),
    ("--memory-reservation 1m a", "minimum memory reservation allowed is 6MB"),
    ("--pids-limit 5000000 a", "invalid pids limit 5000000, the most is 4194304"),
    ("--cgroup-parent a--b.slice a", "a--b.slice is not the name of a slice"),
    ("--isolation hyperv a", "invalid isolation (hyperv) on linux"),
    ("--network container: a", "network 'container:' is not available"),
    ("-l =x a", "invalid label '=x': empty name"),
    ("--oom-score-adj 2000 a", "range for oom score adj is [-1000, 1000]"),
    ("-w rel a", "the working directory 'rel' is invalid"),
    ("--name", "flag needs an argument: --name"),
    ("-e", "flag needs an argument: 'e' in -e"),
    ("-itz a", "unknown shorthand flag: 'z' in -itz"),
    ("--foo a", "unknown flag: --foo"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refusals_say_what_is_wrong(line, message, files):
    with pytest.raises(EstivaError) as caught:
        judged(line)
    assert message.replace("{here}", str(files)) in caught.value.message
    assert isinstance(caught.value, InvalidInput | NotFound | Unsupported) or "conflicting" in message


def test_a_seccomp_profile_that_is_no_json_is_refused(files):
    Path("bad.json").write_text("{")
    with pytest.raises(InvalidInput, match=rf"seccomp profile {files}/bad\.json is not valid json"):
        judged("--security-opt seccomp=bad.json a")


def test_env_file_takes_what_a_later_e_overrides_last(files):
    config, _ = translate(words("--env-file env.list -e A=9 a"))
    assert config["Env"].index("A=9") > config["Env"].index("A=1")


def test_a_hostile_env_file_is_bounded(tmp_path):
    path = tmp_path / "huge"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 64 << 20)
    with pytest.raises(EstivaError, match="larger than"):
        translate(words(f"--env-file {path} a"))


def test_unknown_flag_suggests_a_near_one():
    with pytest.raises(UsageError) as caught:
        words("--memry 64m a")
    assert caught.value.hint == "did you mean --memory?"
