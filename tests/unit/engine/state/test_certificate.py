"""What is said of the end of a run: what is known, and nothing else."""

import pytest

from estiva.engine.monitor.life import death
from estiva.engine.state.life import certificate

MIB = 1 << 20
PIDNS = [{"type": "pid"}, {"type": "mount"}]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"Status": 0}, "ended by itself"),
        ({"Status": 3}, "ended by itself with status 3"),
        ({"Status": 127}, "ended by itself with status 127: a command was not found, as shells say it"),
        ({"Status": 143}, "ended by itself with status 143, as after SIGTERM"),
        ({"Status": 255}, "ended by itself with status 255"),
        (
            {"Status": 137, "Signal": "SIGKILL", "OOM": {"Count": 1, "Scope": "own", "Cgroup": "/e/1", "Limit": 64 * MIB}},
            "killed by its memory limit of 64 MiB",
        ),
        (
            {"Status": 137, "Signal": "SIGKILL", "OOM": {"Count": 1, "Scope": "ancestor", "Cgroup": "/e", "Limit": MIB}},
            "killed by the memory limit of 1 MiB of the cgroup /e",
        ),
        (
            {"Status": 137, "Signal": "SIGKILL", "OOM": {"Count": 1, "Scope": "machine"}},
            "killed by the machine, which was out of memory",
        ),
        (
            {"Status": 0, "OOM": {"Count": 2, "Scope": "unknown"}},
            "ended by itself; of its processes 2 were killed by a memory limit: its own, or one of a cgroup above",
        ),
        (
            {"Status": 137, "Signal": "SIGKILL", "Sender": {"By": "stop", "Signal": "SIGKILL"}, "OOM": {"Count": 1}},
            "SIGKILL from estiva stop",
        ),
        ({"Status": 137, "Signal": "SIGKILL"}, "SIGKILL, it is not known from whom"),
        (
            {"Status": 0, "Sender": {"By": "stop", "Signal": "SIGTERM"}},
            "ended with status 0 after SIGTERM from estiva stop",
        ),
        ({"Status": 143, "Sender": {"By": "stop", "Signal": "SIGTERM"}}, "SIGTERM from estiva stop"),
        (
            {"Status": 130, "Signal": "SIGINT", "Sender": {"By": "attached", "Signal": "SIGINT"}},
            "SIGINT from whoever was attached to it",
        ),
        (
            {"Status": 139, "Signal": "SIGSEGV", "Sender": {"By": "kernel", "Signal": "SIGSEGV"}},
            "SIGSEGV, from the kernel: a fault of its own",
        ),
        ({"Status": 127, "Failed": True}, "its command was not found"),
        ({"Status": 126, "Failed": True}, "its command could not be executed"),
        ({"Status": 125, "Failed": True}, "could not be started"),
    ],
)  # fmt: skip
def test_a_phrase_for_each_end(end, said):
    assert certificate.meaning(end) == said


def plan(*, namespaces=PIDNS, init=False, seccomp=None, rlimits=()):
    process = {"rlimits": [{"type": name} for name in rlimits]}
    return {
        "id": "x", "root": "/nowhere", "run_root": "/nowhere", "init": init, "seccomp": seccomp,
        "config": {"linux": {"namespaces": namespaces}, "process": process},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("of", "status", "oom", "sent", "by"),
    [
        (plan(), -9, False, [(15, "stop"), (9, "stop")], ("stop", "SIGKILL")),
        (plan(), -9, False, [(15, "stop")], ("host", "SIGKILL")),  # another killed it while it was asked
        (plan(), -9, False, [], ("host", "SIGKILL")),
        (plan(namespaces=[]), -9, False, [], ("other", "SIGKILL")),
        (plan(rlimits=["RLIMIT_CPU"]), -9, False, [], None),
        (plan(), -9, True, [], None),  # the out-of-memory killer
        (plan(), -9, True, [(9, "kill")], ("kill", "SIGKILL")),
        (plan(), -11, False, [], ("kernel", "SIGSEGV")),
        (plan(namespaces=[]), -11, False, [], ("other", "SIGSEGV")),
        (plan(), -15, False, [], ("other", "SIGTERM")),
        (plan(), 0, False, [], None),
        (plan(), 0, False, [(1, "kill"), (15, "stop")], ("stop", "SIGTERM")),
        (plan(), 143, False, [(15, "stop"), (1, "kill")], ("stop", "SIGTERM")),
        (plan(), 3, False, [], None),
    ],
)
def test_who_has_sent_it(of, status, oom, sent, by):
    found = death._sender(of, status, oom, sent)
    assert (found and (found["By"], found["Signal"])) == by


class Group:
    """A cgroup without files: nothing is known of its memory."""

    path = "/estiva-none/x"

    class places:  # noqa: N801
        version = "v1"
        where: dict[str, str] = {}  # noqa: RUF012


def test_a_seccomp_kill_is_one_where_there_was_a_filter_and_init_was_killed():
    def of(plan, status=-31):
        return death.certify(plan, Group, status, 0, 0, [])

    assert of(plan(seccomp={}))["Seccomp"]
    assert of(plan(seccomp={}))["Meaning"].startswith("killed by its seccomp filter")
    for other in (
        of(plan()),
        of(plan(seccomp={}), -11),
        of(plan(seccomp={}, init=True)),
        of(plan(seccomp={}), 159),
    ):
        assert "Seccomp" not in other


def test_what_is_not_known_is_not_there():
    assert death.certify(plan(), Group, 0, 0, 0, []) == {"Status": 0, "Meaning": "ended by itself"}
