"""The largest processes when memory ran out, out of a log in which processes write their own names."""

import os

import pytest

from estiva.runtime.cgroup import victims

PAGE = os.sysconf("SC_PAGE_SIZE")
HEAD = "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"
OLD = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"


def kill(task="sh", pid=3, memcg="/estiva/a", kind="MEMCG"):
    return f"oom-kill:constraint=CONSTRAINT_{kind},nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/estiva/a,task_memcg={memcg},task={task},pid={pid},uid=0"


def row(pid, rss, name):
    return f"[{pid:7}]     0{pid:6}     6724{rss:9}     4034      322         0    77824        0             0 {name}"


@pytest.fixture
def log(monkeypatch):
    def write(*lines, level=6):
        records = [f"{level},{n},{n},-;{line}\n SUBSYSTEM=x\n".encode() for n, line in enumerate(lines)]

        def read(fd, size):
            if not records:
                raise BlockingIOError
            return records.pop(0)

        monkeypatch.setattr(os, "read", read)
        monkeypatch.setattr(victims, "LOG", "/dev/null")

    return write


def test_the_largest_of_the_last_kill(log):
    first = ["Tasks state (memory values in pages):", HEAD, row(9, 999, "before"), kill(pid=9)]
    log(
        *first,
        "noise",
        "Tasks state (memory values in pages):",
        HEAD,
        row(3, 100, "sh"),
        row(4, 300, "a b"),
        row(5, 1, "c"),
        kill(),
    )
    assert victims.largest("/estiva/a", 2) == [
        {"Pid": 4, "Name": "a b", "Memory": 300 * PAGE},
        {"Pid": 3, "Name": "sh", "Memory": 100 * PAGE},
    ]


def test_older_kernels_and_cgroups_below(log):
    line = "[   3]     0     3     6724     4356    77824        0             0 sh"
    log("Tasks state (memory values in pages):", OLD, line, kill(memcg="/estiva/a/inner"))
    assert [one["Memory"] for one in victims.largest("/estiva/a")] == [4356 * PAGE]


def test_kills_of_others_are_not_ours(log):
    log("Tasks state:", HEAD, row(3, 1, "sh"), kill(memcg="/estiva/ab"), kill(memcg="/estiva"))
    assert victims.largest("/estiva/a") == []


def test_of_the_whole_machine_only_who_was_killed(log):
    log("Tasks state:", HEAD, row(3, 10, "sh"), row(4, 500, "of-another"), kill(pid=3, kind="NONE"))
    assert [one["Name"] for one in victims.largest("/estiva/a")] == ["sh"]


@pytest.mark.parametrize(
    "name", ["oom-kill:x", "a,task_memcg=/", ",pid=4,uid=0", "]", "", "\\x1b[2J", "[ 1 ] 2 3"]
)
def test_names_that_try_to_lie(log, name):
    log(
        "Tasks state:",
        HEAD,
        row(3, 10, name),
        row(4, 5, "other"),
        f"{name} invoked oom-killer: gfp_mask=0",
        kill(task=name),
    )
    assert [one["Pid"] for one in victims.largest("/estiva/a")][:1] in ([3], [4])
    assert all(one["Name"].isprintable() for one in victims.largest("/estiva/a"))


def test_what_users_have_written_to_the_log_is_not_believed(log):
    log("Tasks state:", HEAD, row(3, 10, "sh"), kill(), level=14)
    assert victims.largest("/estiva/a") == []


def test_a_log_that_is_nonsense_or_not_there(log, monkeypatch):
    log("[", "[]", "[ pid ]", "[ x ] y", "oom-kill:", "oom-kill:,,,")
    assert victims.largest("/estiva/a") == []
    monkeypatch.setattr(os, "read", lambda fd, size: b"\xff\xff")
    assert victims.largest("/estiva/a") == []
    monkeypatch.setattr(victims, "LOG", "/no/such/log")
    assert victims.largest("/estiva/a") == []
