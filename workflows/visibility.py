"""Search attributes and current details: what the Temporal Web UI shows of a run."""

from __future__ import annotations

from typing import Any, Final

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from durable_orders.contracts.search_attributes import NEEDS_ATTENTION, ORDER_STATUS
from durable_orders.domain.activity_messages import Attention, Progress
from durable_orders.domain.refunds.messages import RefundProgress


class SearchAttributes:
    """The search attributes of a run: what changes of them is published in one event."""

    def __init__(self) -> None:
        self._unpublished: dict[str, SearchAttributeUpdate[Any]] = {}
        self._needs_attention = False

    def restore(self, order_status: str) -> None:
        """Go on from what the run before has published."""
        published = workflow.info().typed_search_attributes
        self._needs_attention = bool(published.get(NEEDS_ATTENTION))
        if published.get(ORDER_STATUS) != order_status:
            self.set(ORDER_STATUS.value_set(order_status))

    def set(self, *updates: SearchAttributeUpdate[Any]) -> None:
        """Have these published with the next ``publish()``."""
        self._unpublished |= {update.key.name: update for update in updates}

    def set_needs_attention(self, *, needed: bool) -> None:
        if needed != self._needs_attention:
            self._needs_attention = needed
            self.set(NEEDS_ATTENTION.value_set(needed))

    def publish(self) -> None:
        """Publish what has changed, if anything has."""
        if self._unpublished:
            workflow.upsert_search_attributes(list(self._unpublished.values()))
            self._unpublished = {}

    def discard_unpublished(self) -> None:
        """Publish nothing any more: the next run sees what is missing (``restore``)."""
        self._unpublished = {}


def details(progress: Progress, headline: str = "") -> str:
    """The run's current details, in Markdown. ``headline`` is for a run that has no summary."""
    lines = [headline] if headline else []
    lines.append(f"**{progress.status}** — {progress.doing}")
    if progress.cancel_requested:
        lines.append("A cancellation was asked for.")
    if progress.stop is not None:
        lines.append(f"Stopped: {progress.stop.message} (`{progress.stop.reason}`)")
    if progress.attention is not None:
        lines += _attention(progress.order_id, progress.attention)
    return "\n\n".join(lines)


#: What each ``OperatorCommand`` does, and the command line that gives it.
_COMMANDS: Final = {
    "retry_now": ("try it again at once", "retry-now {}"),
    "skip_step": ("give it up: what was done so far is undone", 'skip-step {} --reason "…"'),
    "resolve": ("you have done it by hand", 'resolve {} --note "…"'),
}


def _attention(order_id: str, attention: Attention) -> list[str]:
    """What keeps failing, since when, and what an operator can do about it."""
    since = f"`{attention.step}` since {attention.since}"
    if not attention.can:
        return [f"**Needs attention**: {since}: {attention.problem}"]
    lines = [
        f"**Needs attention**: {since} keeps failing and is still being tried: {attention.problem}",
        "It goes on by itself once the cause is mended. An operator can say:",
    ]
    commands = [_command(kind, attention) for kind in attention.can]
    lines.append(
        "\n".join(
            f"- `python client.py {command.format(order_id)}`: {what}" for what, command in commands
        )
    )
    return lines


def _command(kind: str, attention: Attention) -> tuple[str, str]:
    what, command = _COMMANDS[kind]
    if kind == "resolve" and attention.asks_given_back:
        return f"{what}; what was given back is asked, 0 if nothing was taken", (
            f"{command} --given-back …"
        )
    return what, command


def refund_details(progress: RefundProgress) -> str:
    """The current details of a refund's run, in Markdown."""
    amount = f"{progress.amount}, " if progress.amount else ""
    lines = [f"**{amount}{progress.state}** — {progress.doing}"]
    if progress.why:
        lines.append(progress.why)
    if progress.attention is not None:
        attention = progress.attention
        lines.append(
            f"**Needs attention**: `{attention.step}` since {attention.since}: {attention.problem}"
        )
    return "\n\n".join(lines)
