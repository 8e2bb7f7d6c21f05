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


@pytest.fixture
def host():
    with enginekit.host() as made:
        made.import_busybox()
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
