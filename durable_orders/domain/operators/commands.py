"""The commands an operator may give about what keeps failing, as the command line takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.refunds.messages import RefundRef

#: Of a refund only, and given to no run: there is none.
LOOK_AGAIN: Final = "look_again"
#: What each command about what needs attention does, its name on the command line, and its required
#: options: the ``OperatorCommand``s, and the decisions about an order that is held.
_COMMANDS: Final = {
    "retry_now": ("try it again at once", "retry-now", ""),
    "skip_step": ("give it up: what was done so far is undone", "skip-step", ' --reason "…"'),
    "approve": ("let it go on all the same", "approve", " --by WHO"),
    "reject": ("stop it: what was done so far is undone", "reject", ' --by WHO --reason "…"'),
    "resolve": ("you have done it by hand", "resolve", ' --note "…"'),
    LOOK_AGAIN: ("start its run again: it goes on from where it was", "look-again", ""),
}
_GIVEN_BACK: Final = "what was given back is asked, 0 if nothing was taken"


@dataclass(frozen=True)
class OfferedCommand:
    """``arguments`` are all that follows the program's name; ``effect`` is what they are for."""

    effect: str
    arguments: str


def offered_commands(attention: Attention, about: str | RefundRef) -> Iterator[OfferedCommand]:
    """Yield the commands that may be given about an order (its id) or a refund."""
    for kind in attention.can:
        effect, name, options = _COMMANDS[kind]
        if kind == "resolve" and not attention.is_tried:
            effect = "you have seen to it"
        if kind == "resolve" and attention.asks_given_back:
            effect, options = f"{effect}; {_GIVEN_BACK}", f"{options} --given-back AMOUNT"
        match about:
            case RefundRef(order_id=order_id, refund_id=refund_id):
                yield OfferedCommand(effect, f"refund {name} {order_id} {refund_id}{options}")
            case order_id:
                yield OfferedCommand(effect, f"{name} {order_id}{options}")
