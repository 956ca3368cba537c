"""Manual settlement of charges that compensation could not undo: the amounts to report."""

from __future__ import annotations

from dataclasses import dataclass

from durable_orders.domain.money import Money


class WrongAmountError(ValueError):
    """The amount reported as given back is impossible; the message says what is possible."""


@dataclass(frozen=True)
class ManualSettlement:
    """The money to give back by hand: ``taken`` is what the order knows to be captured.

    A charge takes the whole ``total`` or nothing, so an operator can report two things: the
    customer has all of it again, or nothing was ever taken.
    """

    taken: Money
    total: Money

    @property
    def is_known(self) -> bool:
        """Whether the order knows of a capture. If not, a charge may have succeeded unnoticed."""
        return bool(self.taken)

    def given_back(self, reported: int | None) -> Money:
        """What the customer was given back, as the operator ``reported`` it in minor units.

        None means all that was taken. Raises ``WrongAmountError``.
        """
        total = self.total
        if self.is_known:
            if reported not in {None, self.taken.amount}:
                raise WrongAmountError(
                    f"{self.taken} was taken: the order ends when the customer has all of it "
                    f"again, and not with {Money(reported or 0, total.currency)}"
                )
            return self.taken
        if reported is None:
            raise WrongAmountError(
                "whether the card was charged is not known: look at the card provider, then say "
                f"what was given back by hand, {total}, or 0 if nothing was taken"
            )
        if reported not in {0, total.amount}:
            raise WrongAmountError(
                f"a charge takes all of {total} or nothing: say that {total} was given back by "
                f"hand, or 0 if nothing was taken, and not {Money(reported, total.currency)}"
            )
        return Money(reported, total.currency)
