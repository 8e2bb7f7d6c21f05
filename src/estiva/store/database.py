"""The state database: one SQLite file in WAL mode, opened by every command.

Facts this leans on:
- WAL mode is a property of the file, so opening an existing one needs no PRAGMA but the version check. What
  only matters to a writer (`synchronous`, the checkpoint threshold) is set at a connection's first write.
- SQLite's busy handler polls, up to 100 ms at a time, so that a writer can starve behind hundreds of others.
  Writers therefore meet at a POSIX lock first (fcntl(2)), asked for every few milliseconds: to wait in the
  kernel (F_SETLKW) has no end while its holder is stopped (Ctrl-Z), and F_GETLK tells who that is. SQLite's
  own locks give the exclusion, so losing it (another thread closing the file) harms nothing. A POSIX lock,
  unlike flock(2), is not shared with a forked child that outlives its parent.
- The last connection to close would checkpoint and delete the log, with two fsyncs on the way out of each
  `run`; that is switched off. SQLite's automatic checkpoint is too: it can't start the log anew, because the
  next process to open the file no longer knows what was checkpointed, so with short-lived processes the log
  grew for ever. Instead the writer that finds the log larger than LOG_LIMIT brings it in and truncates it.
- A full disk would also keep `rm` and `prune` from writing that something goes. So that they can, some space
  is set aside (reserve.py), which a transaction that frees space, or says how a run ended, gives up. It does
  so beforehand: after SQLITE_FULL at COMMIT there is nothing to try again, SQLite has rolled back.
- A connection must not be used after fork(2), not even closed: the child leaks it and opens its own. Nor may
  another thread be in SQLite then (gate.py).
- Ctrl-C must not come between BEGIN and who is to say COMMIT: all processes would wait for that. So signals
  with handlers in Python are held for the length of a transaction (held.py).
"""

from __future__ import annotations

import fcntl
import os
import time
from _thread import _local

from estiva import held
from estiva.errors import FREE_SPACE, Conflict, EstivaError, InvalidInput, StateError, Unavailable
from estiva.store import reserve, schema, sqlite
from estiva.store.gate import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

PATIENCE = 10.0  # seconds that a writer waits for one and the same other
RETRIES = 5
_PATIENT = f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}"
LOG_LIMIT = 1 << 20  # bytes: each MiB costs the next command 0.5 ms of recovery, a checkpoint of one 3 ms

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _CONSTRAINT, _NOTADB = (
    5,
    6,
    8,
    10,
    11,
    13,
    14,
    15,
    19,
    26,
)


_sqlite = sqlite.load()
_Error: type[Exception] = _sqlite.Error


LOST = "lost"  # the key in `meta` of a database that was begun where another must have been


class DatabaseDamaged(StateError):
    """The file is no database, or one that can't be read."""


class Database:
    """The database at `path`, made with its tables when absent. Each thread's connection opens on first use.

    Raises StateError for a file that is damaged, newer, locked or no database, Unavailable for a full disk,
    Conflict where a UNIQUE constraint refuses a row.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.unwritable = False  # noted by those who can do without writing, so that they try it once
        self._local = _local()

    def read(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query. Inside a `write` block of the same thread it sees what the block wrote."""
        begun = time.monotonic()
        for attempt in range(RETRIES):
            try:
                connection = self._connection()
                with self._local.gate.lock:
                    return connection.execute(sql, params).fetchall()
            except _Error as error:
                if not _again(error, attempt, begun):
                    raise self._explain(error) from error
            except UnicodeEncodeError as error:
                raise _not_text(error) from None
        raise AssertionError("unreachable")

    def write(self, *, freeing: bool = False) -> Transaction:
        """A with-block that is one transaction, alone among all processes. Nested blocks are savepoints.

        One that is `freeing` space may use the reserve when the disk is full.
        """
        return Transaction(self, freeing)

    def open(self) -> None:
        """Open this thread's connection now, so that the first use need not wait for it."""
        self._connection()

    def close(self) -> None:
        """Close this thread's connection. The database stays usable: the next call opens another."""
        gate: Gate | None = getattr(self._local, "gate", None)
        if gate is not None:
            gate.close()

    def checkpoint(self) -> None:
        """Bring the log into the database file and empty it. For verbs that run rarely: prune, check."""
        self.read("PRAGMA busy_timeout = 1000")  # who writes now will do it some day
        self.read("PRAGMA wal_checkpoint(TRUNCATE)")
        self.read(_PATIENT)
        reserve.set_aside(self.path)

    def _connection(self) -> sqlite3.Connection:
        local = self._local
        gate: Gate | None = getattr(local, "gate", None)
        if gate is None or gate.pid != os.getpid():
            gate = local.gate = Gate()
        if gate.connection is None:
            local.depth = 0
            local.tuned = False
            with gate.lock:
                gate.connection = self._open()
        return gate.connection

    def _connect(self, name: str, *, uri: bool = False) -> sqlite3.Connection:
        connection: sqlite3.Connection = _sqlite.connect(
            name, timeout=PATIENCE, isolation_level=None, check_same_thread=False, uri=uri
        )
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = self._connect(self.path)
        try:
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
            except _Error as error:
                connection.close()
                connection = self._open_read_only(error)
                version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != schema.VERSION:
                self._migrate(connection)
            quiet = getattr(_sqlite, "SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE", None)
            if quiet is not None:
                connection.setconfig(quiet, True)  # type: ignore[attr-defined]  # since 3.12
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_read_only(self, error: BaseException) -> sqlite3.Connection:
        """On a read-only disk SQLite can't make the -shm file that it wants even for reading. Where there is
        no log, the file is all there is, and may be read without.
        """
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        path = self.path
        log = os.stat(path + "-wal").st_size if os.path.exists(path + "-wal") else 0
        if code not in (_CANTOPEN, _READONLY) or log or not os.path.exists(path):
            raise error
        if not os.statvfs(path).f_flag & os.ST_RDONLY:
            raise error
        for char, escaped in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
            path = path.replace(char, escaped)
        return self._connect(f"file:{path}?immutable=1", uri=True)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring a new or older file to schema.VERSION.

        One process does it, the others wait and look again.
        """
        from estiva.files import Lock

        with Lock(self.path + ".migrate"):
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > schema.VERSION:
                raise StateError(
                    f"the database {self.path} is of version {version}, this Estiva knows {schema.VERSION}",
                    hint="use the newer Estiva that wrote it",
                )
            if version == schema.VERSION:
                return
            lost = version == 0 and self._has_neighbours()
            os.chmod(self.path, 0o600)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            steps = "".join(schema.steps(version))
            connection.executescript(
                f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {schema.VERSION}; COMMIT;"
            )
            if lost:
                connection.execute("INSERT INTO meta (key, value) VALUES (?, '')", (LOST,))
            reserve.set_aside(self.path)

    def _has_neighbours(self) -> bool:
        """Whether a new database has state beside it that another must have known: that one was lost."""
        above = os.path.dirname(self.path)
        places = [f"{above}/{name}" for name in ("containers", "volumes", "layers")]
        return any(os.path.isdir(place) and os.listdir(place) for place in places)

    def _explain(self, error: BaseException) -> EstivaError:
        """The Estiva error for one of SQLite's."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == _CONSTRAINT:
            return Conflict(f"the database refuses the row: {error}")
        if code == _FULL or (code in (_IOERR, _CANTOPEN) and reserve.full(self.path, 1 << 20)):
            return Unavailable(f"no space left for the database {self.path}", hint=FREE_SPACE)
        if code == _READONLY:
            return StateError(
                f"the database {self.path} can't be written",
                hint="the disk is mounted read-only, or the file belongs to another user",
            )
        if code in (_CORRUPT, _NOTADB):
            return DatabaseDamaged(
                f"the database {self.path} is damaged: {error}",
                hint="`estiva system check --repair` begins a new one, and adopts volumes and what runs",
            )
        if code in (_BUSY, _LOCKED, _PROTOCOL):
            from estiva.store import lock_holder

            return lock_holder.error(self.path)
        return StateError(f"the database {self.path}: {error}")


class Transaction:
    """What `Database.write` gives: BEGIN IMMEDIATE at entry, COMMIT at the end, ROLLBACK on any exception."""

    def __init__(self, database: Database, freeing: bool = False) -> None:
        self.database = database
        self.freeing = freeing
        self.depth = 0
        self.queue = -1
        self.signals = held.Signals()  # held by the outermost block, from its place in the queue on

    def execute(self, sql: str, params: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; the cursor has `rowcount` and the rows."""
        try:
            return self.connection.execute(sql, params)
        except _Error as error:
            raise self.database._explain(error) from error
        except UnicodeEncodeError as error:
            raise _not_text(error) from None

    def read(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query inside the transaction."""
        return self.execute(sql, params).fetchall()

    def __enter__(self) -> Transaction:
        database = self.database
        local = database._local
        try:
            self.connection = database._connection()
            self.depth = local.depth
            if self.depth:
                self.connection.execute(f"SAVEPOINT s{self.depth}")
            else:
                self._begin()
            local.depth += 1
            return self
        except _Error as error:
            raise database._explain(error) from error

    def _begin(self) -> None:
        local = self.database._local
        if not local.tuned:
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            local.tuned = True
        if self.freeing:
            if reserve.full(self.database.path):
                reserve.make_room(self.database.path, self.connection)
            elif not os.path.exists(self.database.path + reserve.SUFFIX):
                reserve.set_aside(self.database.path)  # it was needed, and there is space again
        begun = time.monotonic()
        try:
            self.signals.hold()
            for attempt in range(RETRIES):
                self._join_queue()
                local.gate.lock.acquire()  # until `__exit__`
                try:
                    self.connection.execute("BEGIN IMMEDIATE")
                    return
                except BaseException as error:
                    local.gate.lock.release()
                    self._leave_queue()
                    if not isinstance(error, _Error) or not _again(error, attempt, begun):
                        raise
                self.signals.look()
        except BaseException:
            self._leave_queue()
            self.signals.__exit__()
            raise

    def _join_queue(self) -> None:
        try:
            self.queue = os.open(self.database.path + ".queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(self.queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            from estiva.store import lock_holder

            lock_holder.wait(self.queue, self.database.path, PATIENCE, self.signals.look)
        except OSError:
            pass  # only the order is lost

    def _leave_queue(self) -> None:
        if self.queue >= 0:
            os.close(self.queue)
            self.queue = -1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        local = self.database._local
        local.depth -= 1
        lock = local.gate.lock
        name = f"s{self.depth}"
        try:
            if kind is None:
                self.connection.execute(f"RELEASE {name}" if self.depth else "COMMIT")
                if not self.depth:
                    self._tidy()
                return
        except _Error as failure:
            self._undo(name)
            raise self.database._explain(failure) from failure
        else:
            self._undo(name)
        finally:
            if not self.depth:
                lock.release()
                self._leave_queue()
                self.signals.__exit__()

    def _tidy(self) -> None:
        """Truncate a log that has grown, if no reader is in the way.

        Whatever fails here, the commit stands.
        """
        try:
            if os.stat(self.database.path + "-wal").st_size <= LOG_LIMIT:
                return
            self.connection.execute("PRAGMA busy_timeout = 20").fetchall()
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.connection.execute(_PATIENT).fetchall()
            reserve.set_aside(self.database.path)
        except (OSError, _Error):
            pass

    def _undo(self, name: str) -> None:
        try:
            if self.depth:
                self.connection.execute(f"ROLLBACK TO {name}")
                self.connection.execute(f"RELEASE {name}")
            elif self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except _Error:
            self.database.close()  # closing rolls back


def _again(error: BaseException, attempt: int, begun: float) -> bool:
    """True, after a pause, when SQLite said busy without waiting for long, and there are tries left."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (_BUSY, _PROTOCOL) or attempt == RETRIES - 1 or time.monotonic() > begun + PATIENCE / 2:
        return False
    time.sleep(0.01 * (attempt + 1))
    return True


def _not_text(error: UnicodeEncodeError) -> InvalidInput:
    """A word that holds bytes which are no UTF-8 names nothing here, and can't be stored."""
    return InvalidInput(f'"{error.object}" is not UTF-8 text')
