"""network/dns/names: who is called what, by the rows of the database."""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import pytest

from dnskit import Rows
from estiva.network.dns.names import Directory

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


@pytest.fixture
def rows(tmp_path):
    made = Rows(str(tmp_path / "estiva.db"))
    made.network("n1", "Front")
    made.network("n2", "back.end", Internal=True)
    made.container(ONE, "web", hostname="wonderful")
    made.container(TWO, "db")
    made.container(THREE, "other")
    made.join("n1", ONE, "10.1.0.2", "fd00::2", Aliases=["service", "WWW"])
    made.join("n1", TWO, "10.1.0.3", Aliases=["service", "a.dotted.name"])
    yield made
    made.db.close()


@pytest.fixture
def directory(rows):
    made = Directory(rows.db.path)
    made.refresh()
    yield made
    made.database.close()


def v4(directory, container, name):
    found = directory.resolve(container, name.encode())
    return None if found is None else [inet_ntop(AF_INET, address) for address in found.v4]


@pytest.mark.parametrize("name", ["web", "wonderful", "111111111111", "www", "web.front", "www.front"])
def test_what_a_container_is_called(directory, name):
    assert v4(directory, TWO, name) == ["10.1.0.2"]
    found = directory.resolve(TWO, name.encode())
    assert [inet_ntop(AF_INET6, address) for address in found.v6] == ["fd00::2"]
    assert v4(directory, ONE, name) == ["10.1.0.2"], "by itself too"


def test_an_alias_of_several_means_all(directory):
    assert v4(directory, ONE, "service") == ["10.1.0.2", "10.1.0.3"]


def test_a_name_with_dots(directory):
    assert v4(directory, ONE, "a.dotted.name") == v4(directory, ONE, "a.dotted.name.front") == ["10.1.0.3"]


@pytest.mark.parametrize(
    "name", ["", ".", "nobody", "web.nowhere", "front", "web.web", "1111111111", "other", "0" * 300]
)
def test_who_is_not_there(directory, name):
    assert v4(directory, ONE, name) is None


def test_one_on_no_common_network_sees_nobody(directory, rows):
    assert v4(directory, THREE, "web") is None and v4(directory, "4" * 64, "web") is None
    rows.join("n2", THREE, "10.2.0.2")
    directory.refresh()
    assert v4(directory, THREE, "web") is None and v4(directory, ONE, "other") is None
    assert v4(directory, THREE, "other.back.end") == ["10.2.0.2"], "a network's name may have dots"


def test_containers_come_and_go(directory, rows):
    rows.leave(TWO)
    assert v4(directory, ONE, "db") == ["10.1.0.3"]
    directory.refresh()
    assert v4(directory, ONE, "db") is None and v4(directory, ONE, "service") == ["10.1.0.2"]
    rows.container("5" * 64, "late")
    rows.join("n1", "5" * 64, "10.1.0.9")
    directory.refresh()
    assert v4(directory, ONE, "late") == ["10.1.0.9"]
    with rows.db.write() as t:
        t.execute("UPDATE containers SET name = 'renamed' WHERE name = 'late'")
    directory.refresh()
    assert v4(directory, ONE, "late") is None and v4(directory, ONE, "renamed") == ["10.1.0.9"]


def test_the_index_stays_when_other_rows_change(directory, rows):
    before = directory.places
    with rows.db.write() as t:
        t.execute("INSERT INTO meta VALUES ('any', 'thing')")
    directory.refresh()
    assert directory.places is before


def test_the_first_network_with_the_name_is_meant(directory, rows):
    rows.join("n2", ONE, "10.2.0.2", GwPriority=0)
    rows.join("n2", THREE, "10.2.0.3", Aliases=["db"])
    directory.refresh()
    assert v4(directory, ONE, "db") == ["10.1.0.3"], "internal ones come last"
    assert v4(directory, ONE, "db.back.end") == ["10.2.0.3"]
    with rows.db.write() as t:
        t.execute(
            "UPDATE endpoints SET record = '{\"GwPriority\": 9}' WHERE network = 'n2' AND container = ?",
            (ONE,),
        )
    directory.refresh()
    assert v4(directory, ONE, "db") == ["10.2.0.3"]


def test_a_link_is_of_who_has_it_alone(directory, rows):
    rows.container("6" * 64, "linked")
    rows.join(
        "n1",
        "6" * 64,
        "10.1.0.6",
        Links=[[TWO, "Database"], [ONE, "db"], ["7" * 64, "gone"], ["DB", "named"], ["later", "x"]],
    )
    directory.refresh()
    six = "6" * 64
    assert v4(directory, six, "database") == v4(directory, six, "database.front") == ["10.1.0.3"]
    assert v4(directory, six, "db") == ["10.1.0.2"], "instead of who is called so"
    assert v4(directory, six, "gone") is None and v4(directory, ONE, "database") is None
    assert v4(directory, six, "named") == v4(directory, six, "database") and v4(directory, six, "x") is None
    rows.container("7" * 64, "later")
    rows.join("n1", "7" * 64, "10.1.0.7")
    directory.refresh()
    assert v4(directory, six, "x") == ["10.1.0.7"], "who is called so by now"


def test_reverse(directory, rows):
    assert directory.reverse(TWO, inet_pton(AF_INET, "10.1.0.2")) == b"web.front"
    assert directory.reverse(TWO, inet_pton(AF_INET6, "fd00::2")) == b"web.front"
    assert directory.reverse(THREE, inet_pton(AF_INET, "10.1.0.2")) == b""


def test_names_that_no_message_can_hold_are_told_without_their_network(directory, rows):
    with rows.db.write() as t:
        t.execute("UPDATE networks SET name = ? WHERE id = 'n1'", ("n" * 64,))
    directory.refresh()
    assert directory.reverse(TWO, inet_pton(AF_INET, "10.1.0.2")) == b"web"


def test_who_is_confined(directory, rows):
    rows.join("n2", THREE, "10.2.0.3")
    directory.refresh()
    assert directory.confined(THREE) and not directory.confined(ONE)
    assert directory.confined("8" * 64), "it is on no network any more"
    with rows.db.write() as t:
        t.execute("INSERT INTO leases VALUES ('default', '10.201.0.2', ?)", (THREE,))
    directory.refresh()
    assert not directory.confined(THREE), "it is on the default bridge too"
    with rows.db.write() as t:
        t.execute("DELETE FROM leases WHERE network = 'default'")
    rows.join("n1", THREE, "10.1.0.8")
    directory.refresh()
    assert not directory.confined(THREE)


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{", '{"Aliases": 7}', '{"Aliases": [1, null, "", "..", "' + "x" * 300 + '"]}', '{"Links": [[1, 2], "a", ["b"]]}',
     '{"Links": {"a": "b"}, "GwPriority": "high"}', '"text"'],
)  # fmt: skip
def test_a_row_that_nobody_should_have_written_harms_itself_alone(directory, rows, record):
    rows.container("9" * 64, "strange")
    with rows.db.write() as t:
        t.execute("INSERT INTO endpoints VALUES ('n1', ?, ?)", ("9" * 64, record))
        t.execute("INSERT INTO leases VALUES ('n1', '10.1.0.99', ?)", ("9" * 64,))
        t.execute("INSERT INTO leases VALUES ('n1', 'not an address', ?)", ("9" * 64,))
    directory.refresh()
    assert v4(directory, ONE, "strange") == ["10.1.0.99"] and v4(directory, ONE, "db") == ["10.1.0.3"]


def test_the_database_can_t_be_written(directory):
    with pytest.raises(Exception, match="can't be written"), directory.database.write() as t:
        t.execute("INSERT INTO meta VALUES ('a', 'b')")


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    made = Directory(str(tmp_path / "none.db"))
    made.refresh()
    assert made.resolve(ONE, b"web") is None and not list(tmp_path.iterdir())


def test_a_path_with_signs_of_a_uri(tmp_path):
    folder = tmp_path / "a?b#c%20d"
    folder.mkdir()
    made = Rows(str(folder / "estiva.db"))
    made.network("n1", "net")
    made.container(ONE, "web")
    made.join("n1", ONE, "10.1.0.2")
    directory = Directory(made.db.path)
    directory.refresh()
    assert v4(directory, ONE, "web") == ["10.1.0.2"]
    directory.database.close()
    made.db.close()


def test_hundreds_are_known(rows, directory):
    for number in range(200):
        identity = f"{number:064x}"
        rows.container(identity, f"c{number}")
        rows.join("n1", identity, f"10.1.{1 + number // 100}.{number % 100}", Aliases=["all"])
    directory.refresh()
    assert len(v4(directory, ONE, "all")) == 200
    assert all(v4(directory, TWO, f"c{number}") for number in range(200))
