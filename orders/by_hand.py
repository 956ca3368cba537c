"""What an operator may say of money that an undo could not give back."""

from __future__ import annotations

from dataclasses import dataclass

from orders.money import Money


class WrongAmountError(ValueError):
    """What was said to be given back by hand cannot be so; the message says what can."""


@dataclass(frozen=True)
class Stake:
    """The money that an undo is to give back: what was ``taken``, as far as its order knows.

    A charge takes all of an order's ``total`` or nothing, so there are two ends: the customer has
    all of it again, or nothing was ever taken.
    """

    taken: Money
    total: Money

    @property
    def is_known(self) -> bool:
        """Whether the order saw money being taken. If not, a charge may have been made unheard."""
        return bool(self.taken)

    def given_back(self, said: int | None) -> Money:
        """What the customer was given back, from what an operator ``said`` in minor units.

        Left out it is all that was taken. Raises ``WrongAmountError``.
        """
        total = self.total
        if self.is_known:
            if said not in {None, self.taken.amount}:
                raise WrongAmountError(
                    f"{self.taken} was taken: the order ends when the customer has all of it "
                    f"again, and not with {Money(said or 0, total.currency)}"
                )
            return self.taken
        if said is None:
            raise WrongAmountError(
                "whether the card was charged is not known: look at the card provider, then say "
                f"what was given back by hand, {total}, or 0 if nothing was taken"
            )
        if said not in {0, total.amount}:
            raise WrongAmountError(
                f"a charge takes all of {total} or nothing: say that {total} was given back by "
                f"hand, or 0 if nothing was taken, and not {Money(said, total.currency)}"
            )
        return Money(said, total.currency)
