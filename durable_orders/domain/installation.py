"""The installation: one shop with one database, and its mark on what it makes at its providers.

Others may use the same accounts, and have orders of the same ids. So whatever an installation makes
carries its name: in the metadata of payments and refunds, in the tags of mails, in the warehouse's
reference, at the beginning of every idempotency key. What carries another's name, or none, is never
touched.

An installation is bound to the account and the mode of the card provider that it first saw. A
process that sees another one, say on a copy of the database, refuses to start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from durable_orders.domain.ports import LockedOutError, NoSuchOrderError
from durable_orders.domain.texts import InvalidTextError, TextFormat

#: A name, as a regular expression: without the characters that end it, ``:`` in a key and ``-`` in
#: the warehouse's reference.
NAME_PATTERN: Final = "[a-z][a-z0-9]{3,23}"

#: The field that holds the name: in the metadata of payments and refunds, in the tags of mails.
MARK: Final = "installation"


class InvalidInstallationNameError(InvalidTextError):
    """The text cannot be the installation's name; the message says why."""


#: The name of an installation.
INSTALLATION_NAME: Final = TextFormat(
    noun="a name of an installation",
    rule="4 to 24 lowercase letters and digits, a letter first",
    pattern=NAME_PATTERN,
    max_length=24,
    error=InvalidInstallationNameError,
)


class OrdersUnderWayError(Exception):
    """The binding cannot be taken off while orders are under way."""

    def __init__(self, orders: int, account: CardAccount) -> None:
        super().__init__(
            f"{orders} {'order is' if orders == 1 else 'orders are'} under way, whose payments are "
            f"at {account}: let them end first, or cancel them. If this database is a copy, adopt "
            "it instead"
        )


class ForeignOrderError(NoSuchOrderError):
    """The order was placed by another installation, of whose database this one is a copy."""

    def __init__(self, order_id: str, placed_by: str) -> None:
        super().__init__(
            order_id,
            f"order {order_id} was placed by the installation {placed_by}, of whose database this "
            "one is a copy: it is not touched from here",
        )


@dataclass(frozen=True)
class CardAccount:
    """An account of the card provider, in its live or test mode.

    ``account_id`` is None where the key may not read it.
    """

    account_id: str | None
    livemode: bool

    def __str__(self) -> str:
        mode = "live mode" if self.livemode else "test mode"
        return f"the Stripe account {self.account_id} in {mode}" if self.account_id else mode

    def contradicts(self, other: CardAccount) -> bool:
        """Whether the two cannot be the same account in the same mode."""
        known = {self.account_id, other.account_id} - {None}
        return self.livemode is not other.livemode or len(known) > 1


class OtherAccountError(LockedOutError):
    """The process has a key of another account or mode than the one that is bound.

    The message names commands of the installed program; ``with_commands`` names another program's.
    """

    def __init__(self, installation: Installation, bound: CardAccount, seen: CardAccount) -> None:
        self._problem = (
            f"the installation {installation.name} is bound to {bound}, and STRIPE_API_KEY is a key"
            f" of {seen}: nothing is asked of Stripe with it"
        )
        super().__init__(self.with_commands("durable-orders"))

    def with_commands(self, program: str) -> str:
        """The message, with the commands as ``program`` is called where it is read."""
        return (
            f"{self._problem}. Set the key of the account that is bound. Or, if this database is a "
            f"copy of another installation's, give the copy a name of its own: `{program} store "
            "adopt`. Or, if the shop itself has moved to another account: "
            f"`{program} store rebind`"
        )


@dataclass(frozen=True)
class Installation:
    """The installation of a database. ``account`` is None until a process with a key has bound it.

    Orders placed under one of the ``former_names`` are this installation's as well.
    """

    name: str
    former_names: tuple[str, ...] = ()
    account: CardAccount | None = None

    @property
    def names(self) -> frozenset[str]:
        """The marks of what is this installation's."""
        return frozenset({self.name, *self.former_names})

    def bound_to(self, seen: CardAccount) -> Installation:
        """The installation, bound to what was seen. Raises ``OtherAccountError``."""
        bound = self.account
        if bound is None:
            return replace(self, account=seen)
        if bound.contradicts(seen):
            raise OtherAccountError(self, bound, seen)
        return self if bound.account_id else replace(self, account=seen)

    def renamed(self, name: str) -> Installation:
        """The installation under another name, which orders get from now on."""
        former = (*self.former_names, self.name)
        return replace(
            self,
            name=checked_name(name),
            former_names=tuple(each for each in dict.fromkeys(former) if each != name),
        )

    def adopted(self, name: str) -> Installation:
        """The installation of a copied database: not bound, and nothing placed before is its own.

        Raises ``InvalidInstallationNameError``, also for a name of the installation it was copied
        from.
        """
        if name in self.names:
            raise InvalidInstallationNameError(
                f"{name} is the name of the installation that this database was copied from: "
                "choose another one, or give none, and one is made"
            )
        return Installation(checked_name(name))

    def unbound(self) -> Installation:
        """The installation without its binding: the next process with a key binds it again."""
        return replace(self, account=None)


def checked_name(name: str) -> str:
    """Return ``name``. Raises ``InvalidInstallationNameError``."""
    return INSTALLATION_NAME.check(name)


#: Reads the account and the mode that a process's key of the card provider is for.
AccountReader = Callable[[], Awaitable[CardAccount]]


class InstallationRepository(Protocol):
    """Repository of the one installation of a database."""

    async def get(self) -> Installation:
        """The installation as it is now."""

    async def bind(self, seen: CardAccount) -> Installation:
        """Bind the installation to what was seen, if it is not yet; see ``Installation.bound_to``.

        Raises ``OtherAccountError``, and changes nothing.
        """
