"""The process of a pool's box that is there for the next command (runtime/launch/zygote.py)."""

import pytest

from enginekit import host
from killkit import assert_nothing_left

# `ways` tells of each command by which way its init was asked: "ahead" or "plain"
BEGIN = """import estiva, time
engine = estiva.Engine()
def watched(box):
    ways, agent = [], box._agent
    real = agent._ahead
    def ahead(*given):
        mine = real(*given)
        ways.append("plain" if mine is None else "ahead")
        return mine
    agent._ahead = ahead
    time.sleep(0.1)  # since the box was made
    return ways
"""
SHOWN = r"""
grep -vE "^(Pid|PPid|Tgid|NS|Vm|Rss|voluntary|nonvoluntary|SigQ)" /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/$$/comm; tr "\0" "\n" </proc/$$/environ; ls -l /proc/$$/ns | sed "s/.* //"
sed "s/exec-[a-z0-9-]*//" /proc/self/cgroup; for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd | tr -d 0-9); done
set -- $(cat /proc/$$/stat); test $1 = $6 && test $1 = $5 && echo leads; pwd; umask; grep policy /proc/self/sched; cat /proc/self/timerslack_ns
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_nothing_left(made)


def test_a_command_is_what_a_joined_one_is(box):
    """To the byte: what the kernel tells of one that was there before it was asked for, of one that was not,
    and of one that has joined."""
    out = box.python(
        BEGIN
        + f"SHOWN = r'''{SHOWN}'''"
        + """
for options in ({}, dict(user="user", ulimits={"nofile": (100, 200), "core": (0, 0)}, oom_score_adj=500),
                dict(security_opt=["no-new-privileges"], cap_drop="ALL", cap_add=["CHOWN"], pids_limit=50, memory="64m", workdir="/tmp"),
                dict(security_opt=["seccomp=unconfined"], ulimits={"nproc": (90, 90)})):
    with estiva.pool("box:1", size=1, network="none", **options) as pool, pool.box() as first:
        agent, seen, ways = first._agent, [], watched(first)
        for wanted in ({}, dict(user="nobody", workdir="/etc", env={"A": "b"}), dict(user="1000:7", env={"HOME": ""})):
            told = []
            for way in ("ahead", "plain", "joined"):
                if way == "plain": agent.rest()
                first._agent = None if way == "joined" else agent
                done = first.exec(["sh", "-c", SHOWN], **wanted)
                told.append(done.stdout + done.stderr)
                first._agent = agent
                time.sleep(0.1)
            seen += [len(set(told)) == 1 or told, len(told[0]) > 2000 or told[0]]
        print(seen, ways)
"""
    )
    assert out.splitlines() == [f"{[True] * 6} {['ahead', 'plain'] * 3}"] * 4, out


def test_it_is_there_in_a_fresh_box_and_not_for_commands_that_come_fast(box):
    out = box.python(
        BEGIN
        + """
from estiva.engine.launch import agent as agents
with estiva.pool("box:1", size=1, network="none") as pool, pool.box() as box:
    time.sleep(0.1)
    rows = [row[-1] for row in box.top().rows]
    ways = watched(box)
    print(rows, box.exec(["sh", "-c", "echo $$; exit 7"]).status, ways)
    agents.QUIET = 1000  # nothing is slow enough
    for _ in range(20): box.exec("true").check()
    agents.QUIET = 0  # nothing is too fast: it is asked before it is there
    for _ in range(20): box.exec("true").check()
    print(ways.count("plain"), ways.count("ahead"))
    box._agent.rest()
    print(len(box.top().rows), box.exec("echo on").output.strip(), len(box.exec(["sh", "-c", "ls /proc/self/fd"]).output.split()))
"""
    )
    assert out.splitlines() == ["['estiva-init', 'estiva-init'] 7 ['ahead']", "20 21", "1 on 4"], out


def test_who_the_user_is_is_looked_up_when_it_may_have_changed(box):
    out = box.python(
        BEGIN
        + """
def written(script):
    box.exec_detached(["sh", "-c", script])
    time.sleep(1.5)
with estiva.pool("box:1", size=1, network="none") as pool, pool.box() as box:
    ways = watched(box)
    box.exec(["sh", "-c", "echo later:x:1234:1234::/home/later:/bin/sh >>/etc/passwd; sed -i s,^root:x:0:0:,root:x:0:77:, /etc/passwd"]).check()
    time.sleep(0.1)
    print(box.exec(["id", "-g"]).output.strip())
    time.sleep(1.5)
    print(box.exec(["sh", "-c", "echo $HOME; id -u"], user="later").output.split())
    time.sleep(0.1)  # from now on it is known who root is
    written("sed -i s,^root:x:0:77:root:/root,root:x:0:78:root:/r, /etc/passwd; mkdir /w; touch /w/first")
    print(box.exec(["sh", "-c", "id -g; echo $HOME"]).output.split())
    time.sleep(0.1)
    written("cp /etc/passwd /p; sed -i s,:78:root:/r,:79:root:/s, /p; touch -r /etc/passwd /p; mv /p /etc/passwd")
    print(box.exec(["sh", "-c", "id -g; echo $HOME"]).output.split(), box.exec("ls", workdir="/w").output.split())
    time.sleep(0.1)
    written("rm -r /w; mkdir /w; touch /w/second")
    print(box.exec("ls", workdir="/w").output.split(), ways.count("ahead"))
"""
    )
    assert out.splitlines() == [
        "77",
        "['/home/later', '1234']",
        "['78', '/r']",
        "['79', '/s'] ['first']",
        "['second'] 6",
    ], out


def test_a_box_with_a_health_check_or_warm_code_stands_still_until_it_is_taken(box):
    box.import_python("sh")
    out = box.python(
        BEGIN
        + """
for image, options in (("box:1", {}), ("box:1", dict(health_cmd="true")), ("py:1", dict(warm="import json"))):
    with estiva.pool(image, size=1, network="none", **options) as pool:
        one, = engine.containers.list()
        print(one.status, end=" ")
        with pool.box() as box:
            time.sleep(0.1)
            print(box.status, box.exec("sh -c 'echo on'").output.strip())
"""
    )
    assert out.splitlines() == ["running running on", "paused running on", "paused running on"], out
