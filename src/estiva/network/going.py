"""Networks that are being taken away: their row has gone, what they have on this machine is on its way. Each
is written down with the end of its row, so that a sweep finds what a process that was killed has left: a
bridge of any name, a vlan, a pair of interfaces.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.network.networks import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.network.ipam import Reader
    from estiva.network.networks import Transaction

_KEY = "network.{}.going"  # in `meta`, by id


def note_in(transaction: Transaction, network: Network) -> None:
    """Write a network down whose row goes, in the same transaction."""
    row = (network.id, network.name, network.driver, network.created, fastjson.dumps(network.record))
    sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
    transaction.execute(sql, (_KEY.format(network.id), fastjson.dumps(row)))


def every(reader: Reader) -> list[Network]:
    """All that are on their way."""
    rows = reader.read("SELECT value FROM meta WHERE key LIKE ?", (_KEY.format("%"),))
    return [Network(*fastjson.stored(row[0], what="a network that is taken away")) for row in rows]


def end_in(transaction: Transaction, network: Network) -> None:
    """It has gone."""
    transaction.execute("DELETE FROM meta WHERE key = ?", (_KEY.format(network.id),))
