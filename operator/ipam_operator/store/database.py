"""Connections, and what their errors mean. The only module that opens any."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg

from ipam_operator import telemetry
from ipam_operator.errors import StoreFaultError, StoreUnavailableError, StoreUncomparedError
from ipam_operator.store.queries import blocks

T = TypeVar("T")
Row = asyncpg.Record

_ATTEMPTS: Final = 5
"""For deadlocks and serialization failures, which the same call survives when it is repeated."""
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg raises for some killed sessions (MagicStack/asyncpg #1069, #784)
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, cancelled by a timeout
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is not yet promoted
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is being rotated
    asyncpg.InvalidCatalogNameError,
)
_SPOILT: Final = (
    asyncpg.InterfaceError,  # the driver may have lost track of the connection's state
    asyncpg.InternalClientError,
    TimeoutError,  # it waits for the server to cancel what took too long; for a silent one until TCP gives it up
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or what was the primary: the way may lead elsewhere by now
)
"""After these nobody else may get the connection."""
_NEXT_HOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # starting, stopping or recovering
    asyncpg.TargetServerAttributeNotMatched,  # a standby
)
"""The host does not serve; another one may."""
_UNCOMPARED: Final = "IPAM1"
"""Our own SQLSTATE, see `ipam.heed_comparison`."""
_CANCEL_SECONDS: Final = 2.0
"""So long who was cancelled waits for the server to say that the statement is, too; by itself asyncpg takes 30 s."""
_CONNECT_SECONDS: Final = 10.0
_HOST_SECONDS: Final = 3.0
"""For one of several hosts, of which the dead ones may swallow what is sent to them."""
_AGAIN: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.SerializationError,
)
_ONE_HOLDER: Final = "lease_claim"
"""The index that stops one of two statements that serve a claim at once, from two pools; repeated, it sees that."""
_HOSTS: Final = re.compile(r"(?:(?:\[[0-9A-Fa-f:.]+\]|[\w./%-]+)(?::\d+)?(?:,|$))*")
"""What stands between the login and the database in a URL; a password with / or # in it cuts the URL short."""
_log = logging.getLogger(__name__)


class ConstraintError(StoreFaultError):
    """A constraint of the database forbids it."""

    def __init__(self, constraint: str, message: str) -> None:
        super().__init__(message)
        self.constraint = constraint


class Connection:
    """One transaction's statements."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, name: str, *arguments: object) -> list[Row]:
        """The rows of the named block."""
        telemetry.store_statements.labels(name).inc()
        return list(await self._connection.fetch(blocks()[name], *arguments))

    async def value(self, name: str, *arguments: object) -> Any:
        """The first column of the first row; None without rows."""
        found = await self.rows(name, *arguments)
        return found[0][0] if found else None


class Database:
    """A bounded pool. Statements carry no session state: PgBouncer in transaction mode may stand in between."""

    def __init__(self, url: str, *, connections: int, statement_cache: bool = True, timeout: float = 30.0) -> None:
        self._url, self._connections, self._timeout = url, connections, timeout
        self._cache = 200 if statement_cache else 0
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def rows(self, name: str, *arguments: object) -> list[Row]:
        """One statement in one round trip: a transaction of its own.

        Raises:
            StoreUnavailableError: try again later, the same call is safe.
            StoreFaultError: the database refused the statement.
        """

        async def work(connection: Connection) -> list[Row]:
            return await connection.rows(name, *arguments)

        return await self._run(name, work, transaction=False)

    async def value(self, name: str, *arguments: object) -> Any:
        """Like `rows`, of which the first column of the first row."""
        found = await self.rows(name, *arguments)
        return found[0][0] if found else None

    async def transaction(self, name: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction; it may run several times, so it must not remember anything.

        The database ends it when `work` is silent for five seconds: whoever waits for its locks may not wait longer.

        Raises:
            StoreUnavailableError: try again later, the same call is safe.
            StoreFaultError: the database refused a statement.
        """
        return await self._run(name, work, transaction=True)

    async def _run(self, name: str, work: Callable[[Connection], Awaitable[T]], *, transaction: bool) -> T:
        for attempt in range(_ATTEMPTS):
            started = time.monotonic()
            try:
                async with self._connected() as connection:
                    if not transaction:
                        return await work(Connection(connection))
                    async with _transaction(connection):
                        ours = Connection(connection)
                        await ours.rows("idle_limit")
                        return await work(ours)
            except (*_AWAY, asyncpg.PostgresError) as error:
                meant = _meaning(name, error)
                if not isinstance(meant, StoreUncomparedError):
                    telemetry.store_faults.labels(name).inc()
                _heed_cancellation(error)
                if not _is_transient(error) or attempt + 1 == _ATTEMPTS:
                    raise meant from error
                await asyncio.sleep(0.01 * 2**attempt)
            finally:
                telemetry.store_seconds.labels(name).observe(time.monotonic() - started)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        pool = await self._opened()
        connection = await pool.acquire(timeout=self._timeout)
        try:
            yield connection
        except _SPOILT:
            _cut(connection)
            raise
        finally:
            with suppress(*_AWAY):  # the pool closes it then; what was done is done
                await pool.release(connection, timeout=_CANCEL_SECONDS)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    connect=cast("Any", _connect),  # its signature is asyncpg's, as far as we use it
                    min_size=1,  # open however long nobody asks: the next claim does not wait for it
                    max_size=self._connections,
                    command_timeout=self._timeout,
                    statement_cache_size=self._cache,
                    max_inactive_connection_lifetime=300.0,
                    init=_meet_types,
                    reset=_nothing_to_reset,
                )
            return self._pool


def _meaning(name: str, error: Exception) -> StoreUnavailableError | StoreFaultError:
    """What a failure of the named statement is to those who asked for it."""
    if isinstance(error, (*_AGAIN, *_AWAY)):
        return StoreUnavailableError(f"{name}: {error!r}")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return ConstraintError(str(error.constraint_name or ""), f"{name}: {error}")
    if getattr(error, "sqlstate", "") == _UNCOMPARED:
        return StoreUncomparedError(f"{name}: {error}")
    return StoreFaultError(f"{name}: {error}")


def _is_transient(error: Exception) -> bool:
    """Whether the same call may succeed when it is repeated at once."""
    return isinstance(error, _AGAIN) or getattr(error, "constraint_name", None) == _ONE_HOLDER


def _heed_cancellation(error: BaseException) -> None:
    """Cancel, if we were cancelled, and a failure on the way out has replaced that."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def _connect(url: str, **options: Any) -> Any:
    """To the first host of the URL that serves.

    asyncpg has one time limit for all hosts, which a first one that is silent uses up, and goes on after few errors.
    """
    urls = one_by_one(url)
    if len(urls) == 1:
        return await asyncpg.connect(url, timeout=_CONNECT_SECONDS, **options)
    if "target_session_attrs=" not in url:
        options["target_session_attrs"] = "read-write"  # no other server is of any use to us
    for candidate in urls[:-1]:
        with suppress(*_NEXT_HOST):
            return await asyncpg.connect(candidate, timeout=_HOST_SECONDS, **options)
    return await asyncpg.connect(urls[-1], timeout=_HOST_SECONDS, **options)


def one_by_one(url: str) -> list[str]:
    """The URL with each of its hosts in turn: `postgresql://ipam@a:5432,b:5432/ipam?target_session_attrs=read-write`."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [url]
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]


async def _meet_types(connection: Any) -> None:
    """In one transaction, so that PgBouncer cannot spread what asyncpg sets meanwhile over several sessions."""
    try:
        async with _transaction(connection):
            await connection.fetch(blocks()["array_types"])
    except BaseException:
        _cut(connection)  # the pool would close it in order, and wait as long
        raise


@asynccontextmanager
async def _transaction(connection: Any) -> AsyncIterator[None]:
    """One that is rolled back within `_CANCEL_SECONDS`, or cut: asyncpg waits half a minute for a silent server."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await transaction.rollback()
        except BaseException:
            _cut(connection)
            raise
        raise
    await transaction.commit()


def _cut(connection: Any) -> None:
    """Close it without a word to the server, which ends what was under way when it notices."""
    with suppress(asyncpg.InterfaceError):  # closed already
        connection.terminate()


async def _nothing_to_reset(_connection: Any) -> None:
    """We set no session state, and asyncpg's own reset is a round trip per statement."""


async def connect(url: str) -> Any:
    """One connection outside of any pool, without cached statements, for migrations.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    try:
        return await _connect(url, statement_cache_size=0)
    except _AWAY as error:
        raise StoreUnavailableError(f"connect: {error!r}") from error


def whereabouts(url: str) -> str:
    """Database and hosts of a URL, without the login: `ipam on a:5432,b:5432`.

    Raises:
        ValueError: it is no such URL; the message repeats nothing of it, which may hold a password.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or ",".join(options.get("host", ()))
    name = parts.path[1:]
    if parts.scheme not in {"postgresql", "postgres"} or not _HOSTS.fullmatch(hosts) or "@" in name:
        raise ValueError(
            "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @ and %2F for / in PASSWORD"
        )
    return f"{name or 'the database of its user'} on {hosts or 'a socket of this machine'}"
