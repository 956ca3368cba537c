"""Search attributes and current details: what the Temporal Web UI shows of a run."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from durable_orders.contracts.search_attributes import NEEDS_ATTENTION, ORDER_STATUS
from durable_orders.domain.activity_messages import Attention, Progress
from durable_orders.domain.disputes.messages import PaymentRiskProgress
from durable_orders.domain.operators.commands import offered_commands
from durable_orders.domain.refunds.messages import RefundProgress, RefundRef
from durable_orders.process import PROGRAM


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

    def restore_attention(self) -> None:
        """Go on from what the run before has published, of a run that has no order's status."""
        published = workflow.info().typed_search_attributes
        self._needs_attention = bool(published.get(NEEDS_ATTENTION))

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


def _attention(order_id: str, attention: Attention) -> list[str]:
    """What keeps failing, since when, and what an operator can do about it."""
    since = f"`{attention.step}` since {attention.since}"
    if not attention.is_tried:
        lines = [f"**Needs attention**: {since}: {attention.problem}"]
        if attention.can:
            lines += ["An operator can say:", _commands(order_id, attention)]
        return lines
    return [
        f"**Needs attention**: {since} keeps failing and is still being tried: {attention.problem}",
        "It goes on by itself once the cause is mended. An operator can say:",
        _commands(order_id, attention),
    ]


def _commands(about: str | RefundRef, attention: Attention) -> str:
    """The commands that can be given about an order (its id) or a refund, a line each.

    They are written as a shell beside this worker runs them. A worker that was started in another
    way writes them otherwise, and replays the run all the same: details are not in its history.
    """
    return "\n".join(
        f"- {offered.effect}: `{PROGRAM} {offered.arguments}`"
        for offered in offered_commands(attention, about)
    )


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
        if attention.can:
            lines += ["An operator can say:", _commands(progress.refund, attention)]
    return "\n\n".join(lines)


def payment_risk_details(progress: PaymentRiskProgress) -> str:
    """The current details of a run that follows what is disputed of a payment, in Markdown."""
    lines = [f"**{len(progress.concerns)} open** — {progress.doing}"]
    for concern in progress.concerns:
        due = f", due by {concern.due_by:%Y-%m-%d %H:%M} UTC" if concern.due_by else ""
        lines.append(f"- {concern.detail}{due}")
    if progress.attention is not None:
        attention = progress.attention
        lines.append(
            f"**Needs attention**: `{attention.step}` since {attention.since}: {attention.problem}"
        )
    return "\n\n".join(lines)
