"""The installation: its name, and the account of the card provider that it is bound to."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, any_, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.installation import CardAccount, Installation, OrdersUnderWayError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import RefusedError
from durable_orders.store.database import Database
from durable_orders.store.tables import installation, orders

_LENGTH: Final = 12
_ROW: Final = select(installation)
_LOCK: Final = _ROW.with_for_update()
_UNDER_WAY: Final = (
    select(func.count())
    .select_from(orders)
    .where(orders.c.status.not_in(sorted(status for status in Status if status.is_final)))
)

#: Whether an order was placed by this installation, under its name or a former one.
IS_OURS: Final[ColumnElement[bool]] = (
    select(installation.c.singleton)
    .where(
        orders.c.key_prefix
        == any_(func.array_append(installation.c.former_names, installation.c.name))
    )
    .correlate(orders)
    .exists()
)


def new_name() -> str:
    """Make a name that no other installation has: 12 lowercase letters and digits."""
    letters, digits = string.ascii_lowercase, string.digits
    return "".join(map(secrets.choice, (letters, *[letters + digits] * (_LENGTH - 1))))


class PostgresInstallationRepository:
    """``InstallationRepository`` in PostgreSQL, and the administration of the installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self) -> Installation:
        async with self._database.statement() as connection:
            return _installation((await connection.execute(_ROW)).one_or_none())

    async def bind(self, seen: CardAccount) -> Installation:
        return await self._change(lambda known: known.bound_to(seen))

    async def rename(self, name: str) -> Installation:
        """Give the installation another name, which orders that are placed from now on get.

        Raises ``InvalidInstallationNameError``.
        """
        return await self._change(lambda known: known.renamed(name))

    async def adopt(self, name: str) -> Installation:
        """Make a copied database an installation of its own; see ``Installation.adopted``.

        Raises ``InvalidInstallationNameError``.
        """
        return await self._change(lambda known: known.adopted(name))

    async def rebind(self) -> Installation:
        """Take the binding off. Raises ``OrdersUnderWayError`` while orders need its account."""
        async with self._database.transaction() as connection:
            known = _installation((await connection.execute(_LOCK)).one_or_none())
            under_way = int(await connection.scalar(_UNDER_WAY.where(IS_OURS)) or 0)
            if under_way and known.account is not None:
                raise OrdersUnderWayError(under_way, known.account)
            return await _save(connection, known, known.unbound())

    async def _change(self, change: Callable[[Installation], Installation]) -> Installation:
        async with self._database.transaction() as connection:
            known = _installation((await connection.execute(_LOCK)).one_or_none())
            return await _save(connection, known, change(known))


async def _save(
    connection: AsyncConnection, known: Installation, changed: Installation
) -> Installation:
    if changed != known:
        account = changed.account
        await connection.execute(
            update(installation).values(
                name=changed.name,
                former_names=list(changed.former_names),
                stripe_account=account and account.account_id,
                livemode=account and account.livemode,
            )
        )
    return changed


def _installation(row: Row[Any] | None) -> Installation:
    if row is None:
        raise RefusedError("the database has lost its installation: restore it from a backup")
    account = None if row.livemode is None else CardAccount(row.stripe_account, row.livemode)
    return Installation(row.name, tuple(row.former_names), account)
