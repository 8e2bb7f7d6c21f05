"""Networks that are made and removed while others look, or make one."""

import subprocess

import pytest

import enginekit
from enginekit import IMAGE

# Who makes a network has its bridge before its rules, with the lock.
MAKING = """
import threading, time
from estiva.engine import Engine
from estiva.engine.networks import upkeep
from estiva.engine.state.published import published_own
from estiva.files import Lock
from estiva.network import rules

engine, told = Engine(), []
looking = threading.Thread(target=lambda: told.append(upkeep.missing_rules(engine)))
with Lock(rules.lock(engine.paths)):
    rules.remove(engine.paths)
    looking.start()
    looking.join(0.5)
    rules.install(engine.paths, engine.db, lambda: published_own(engine.paths, engine.db))
looking.join()
print(told)
"""

# A bridge with the first free subnet comes just before a network is written down: that of one which others
# have made, and removed again from the database.
CHOOSING = """
import subprocess, sys
from estiva.cli.main import main
from estiva.store.database import Database

write = Database.write

def writes(self, *words, **options):
    if not subprocess.run(["ip", "link", "add", "late", "type", "bridge"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run(["ip", "address", "add", "172.17.0.1/16", "dev", "late"], check=True)
        subprocess.run(["ip", "link", "set", "late", "up"], check=True)
    return write(self, *words, **options)

Database.write = writes
sys.argv = ["estiva", "network", "create", "lab"]
main()
"""

# Who removes a network is killed once its row has gone.
KILLED = """
import os, sys
from estiva.cli.main import main
from estiva.engine.networks import remove

remove.take_away = lambda *_: os.kill(os.getpid(), 9)
sys.argv = ["estiva", "network", *{words}]
main()
"""

# A network is removed by another before its bridge is there.
TOO_LATE = """
import sys
from estiva.cli.main import main
from estiva.engine import Engine
from estiva.engine.networks import remove
from estiva.network import bridges

real = bridges.link_of

def late(*words):
    bridges.link_of = real
    remove.remove(Engine(), "lab")
    return real(*words)

bridges.link_of = late
sys.argv = ["estiva", "network", "create", *{words}, "lab"]
main()
"""


# Another state root makes a bridge of the same subnet at the same moment: it is there just before ours, or just
# after.
BOTH = """
import subprocess, sys
from estiva.cli.main import main
from estiva.linux.net import families
from estiva.network import bridges, links, rules

def other():
    words = "ip link add br-other address 02:e5:ac:11:00:01 type bridge"
    subprocess.run(["sh", "-c", words], check=True)

before, real, install = {before}, families.add_bridge, rules.install

def adds(name, **words):
    if before:
        other()
    return real(name, **words)

def installs(*words):
    if not before:
        other()
    return install(*words)

families.add_bridge, rules.install = adds, installs
sys.argv = ["estiva", "network", "create", "lab"]
main()
"""


@pytest.fixture
def host():
    with enginekit.host() as made:
        yield made


def test_the_check_waits_for_a_network_that_is_being_made(host):
    host.estiva("network", "create", "lab")
    host.estiva("run", "-d", "--name", "on", "--network", "lab", IMAGE, "sleep", "1000")
    assert host.python(MAKING) == "[[]]\n"
    subprocess.run([*host.prefix, "nft", "flush", "ruleset"], check=True)
    assert "rules of network lab" in host.estiva("system", "check", status=1).stdout


def test_a_subnet_is_chosen_that_is_free_when_it_is_written_down(host):
    host.python(CHOOSING)
    subnet = host.out("network", "inspect", "lab", "-f", "{{(index .IPAM.Config 0).Subnet}}")
    assert subnet == "172.18.0.0/16"


def links(host):
    done = subprocess.run([*host.prefix, "ip", "-o", "link"], capture_output=True, text=True, check=True)
    names = [line.split(": ")[1].partition("@")[0] for line in done.stdout.splitlines()]
    return [
        name for name in names if not name.startswith("ve")
    ]  # the kernel takes those away in its own time


@pytest.mark.parametrize("verb", ["rm", "prune"])
@pytest.mark.parametrize("words", [
    ["-d", "macvlan"],
    ["-o", "com.docker.network.bridge.name=mine"],
    [],
])  # fmt: skip
def test_what_a_killed_rm_has_left_is_swept(host, words, verb):
    host.estiva("network", "create", "stays")
    before = links(host)
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", *words, "lab")
    host.estiva("run", "--rm", "--network", "lab", IMAGE, "true")
    there = links(host)
    assert len(there) > len(before)
    host.estiva("network", "create", "last")
    order = ["rm", "lab"] if verb == "rm" else ["prune", "-f"]  # by name: lab is the first
    host.python(KILLED.format(words=order), status=-9)
    assert "lab" not in host.out("network", "ls").split() and set(there) <= set(links(host))
    assert "what was left of network lab, which was removed: removed" in host.out("system", "check")
    host.estiva("network", "rm", "last")
    assert links(host) == before and host.out("system", "check") == "all is well"


def test_what_somebody_else_has_put_in_its_place_stays(host):
    host.estiva("network", "create", "-o", "com.docker.network.bridge.name=mine", "lab")
    host.python(KILLED.format(words=["rm", "lab"]), status=-9)
    for words in (["delete", "mine"], ["add", "mine", "type", "bridge"]):
        subprocess.run([*host.prefix, "ip", "link", *words], check=True)
    host.estiva("system", "check", "--repair")
    assert "mine" in links(host)
    # the name is free again
    host.estiva("network", "create", "-o", "com.docker.network.bridge.name=mine", "lab")


def test_uninstall_takes_what_a_killed_rm_has_left(host):
    before = links(host)
    host.estiva("network", "create", "-d", "macvlan", "--subnet", "10.71.0.0/24", "lab")
    host.estiva("run", "--rm", "--network", "lab", IMAGE, "true")
    host.python(KILLED.format(words=["rm", "lab"]), status=-9)
    host.estiva("system", "reset", "-f")
    assert [name for name in links(host) if name[:3] in ("dm-", "dp-")] == [] and before


@pytest.mark.parametrize("words", [[], ["-o", "com.docker.network.bridge.name=mine"]])
def test_a_network_that_is_removed_while_it_is_made_leaves_no_bridge(host, words):
    before = links(host)
    host.python(TOO_LATE.format(words=words), status=1)
    assert links(host) == before and host.out("system", "check") == "all is well"
    assert "lab" not in host.out("network", "ls").split()


def test_of_two_state_roots_that_make_the_same_subnet_the_first_has_it(host):
    said = host.python(BOTH.format(before=False))
    assert said.strip() == host.out("network", "ls", "-q", "--no-trunc", "--filter", "name=lab")
    subprocess.run([*host.prefix, "ip", "link", "del", "br-other"], check=True)
    host.estiva("network", "rm", "lab")
    host.python(BOTH.format(before=True), status=1)
    assert host.out("network", "ls", "-q", "--filter", "name=lab") == ""
    known = subprocess.run(
        [*host.prefix, "ip", "-o", "link"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[1] for line in known.splitlines()] == ["lo:", "br-other:"]
    # also one that was killed before its bridge had an address is in nobody's way
    host.estiva("network", "create", "next")
    subnet = host.out("network", "inspect", "next", "-f", "{{(index .IPAM.Config 0).Subnet}}")
    assert subnet == "172.18.0.0/16"
    done = host.estiva("network", "create", "--subnet", "172.17.0.0/16", "same", status=1)
    assert "172.17.0.1/32 of bridge br-other, which is being made" in done.stderr
