"""What a person sees of a run in the Temporal Web UI."""

from __future__ import annotations

from typing import Final

from orders.messages import Attention, Progress
from orders.refund_messages import RefundProgress


def details(progress: Progress, headline: str = "") -> str:
    """The run's current details, in Markdown. ``headline`` is for a run that has no summary."""
    lines = [headline] if headline else []
    lines.append(f"**{progress.status}** — {progress.doing}")
    if progress.cancel_requested:
        lines.append("A cancellation was asked for.")
    if progress.stop is not None:
        lines.append(f"Stopped: {progress.stop.message} (`{progress.stop.reason}`)")
    if progress.attention is not None:
        lines += _needed(progress.order_id, progress.attention)
    return "\n\n".join(lines)


#: What each word of ``orders.requests.OperatorWord`` does, and the command that says it.
_WORDS: Final = {
    "retry_now": ("try it again at once", "retry-now {}"),
    "skip_step": ("give it up: what was done so far is undone", 'skip-step {} --reason "…"'),
    "resolve": ("you have done it by hand", 'resolve {} --note "…"'),
}


def _needed(order_id: str, attention: Attention) -> list[str]:
    """What keeps failing, since when, and what a person can do about it."""
    since = f"`{attention.step}` since {attention.since}"
    if not attention.can:
        return [f"**Needs attention**: {since}: {attention.problem}"]
    lines = [
        f"**Needs attention**: {since} keeps failing and is still being tried: {attention.problem}",
        "It goes on by itself once the cause is mended. An operator can say:",
    ]
    words = [_words(word, attention) for word in attention.can]
    lines.append(
        "\n".join(
            f"- `python client.py {command.format(order_id)}`: {what}" for what, command in words
        )
    )
    return lines


def _words(word: str, attention: Attention) -> tuple[str, str]:
    what, command = _WORDS[word]
    if word == "resolve" and attention.asks_given_back:
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
