"""Ctrl-C in a program that writes to the database: nobody is kept from writing to it afterwards."""

import os
import subprocess
import sys

import interrupts

PROGRAM = """
import signal, sqlite3, sys
sys.path[:0] = sys.argv[1:3]
import interrupts
from estiva.store import database
path = sys.argv[3]
db = database.Database(path)
def work():
    with db.write() as transaction:
        transaction.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')")
        with db.write() as inner:
            inner.execute("DELETE FROM meta WHERE key = 'a'")
def others():
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found = other.execute("SELECT * FROM meta WHERE key = 'a'").fetchall()
    other.execute("ROLLBACK")
    other.close()
    return found
work()
assert not interrupts.attempt(-1, work)
total, hit, queue = interrupts.count, 0, 0
for number in range(1, total):
    hit += interrupts.attempt(number, work)
    assert not others(), number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
    work()
print(hit > total // 2, total > 100)
"""


def test_a_transaction_at_any_instruction(tmp_path):
    folders = [os.path.dirname(interrupts.__file__), os.path.join(os.path.dirname(__file__), "../../../src")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *folders, str(tmp_path / "estiva.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr
