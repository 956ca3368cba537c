"""The warehouse's work: pick the articles, pack them into parcels, move the parcels."""

import secrets
from typing import Final

from sandbox.world.faults import Fault
from sandbox.world.state_store import JsonObject, StateStore, new_id

#: The statuses from which a parcel can move to each status.
_PREVIOUS_STATUSES: Final = {"left": {"accepted"}, "lost": {"left"}, "delivered": {"left", "lost"}}


def pick(lines: list[JsonObject], fault: Fault | None) -> tuple[list[JsonObject], list[JsonObject]]:
    """Split the lines into what is in stock and what is short."""
    if fault is None or fault.mode != "short":
        return lines, []
    if fault.sku is not None:
        short = [line for line in lines if line["sku"] == fault.sku]
        return [line for line in lines if line not in short], short
    *others, last = lines
    rest = last["quantity"] - 1
    available = [*others, *([{**last, "quantity": rest}] if rest else [])]
    return available, [{**last, "quantity": 1}]


def pack(lines: list[JsonObject], parcels: int) -> list[list[JsonObject]]:
    """Distribute the lines over parcels; a line of several pieces can be divided."""
    pieces = [
        {"sku": line["sku"], "quantity": 1} for line in lines for _ in range(line["quantity"])
    ]
    if parcels <= 1 or len(pieces) < 2:
        return [lines]
    shares: list[dict[str, int]] = [{} for _ in range(min(parcels, len(pieces)))]
    for place, piece in enumerate(pieces):
        share = shares[place % len(shares)]
        share[piece["sku"]] = share.get(piece["sku"], 0) + 1
    return [[{"sku": sku, "quantity": n} for sku, n in share.items()] for share in shares]


def replacement(parcel: JsonObject) -> JsonObject:
    """A new parcel with the same contents; the old one keeps its status and can still arrive."""
    return {
        "id": new_id("par"),
        "status": "accepted",
        "lines": parcel["lines"],
        "resends": parcel["id"],
    }


def move_parcels(
    store: StateStore, order_id: str, status: str, now: int, *, parcel_id: str | None = None
) -> JsonObject | None:
    """Move the parcels of an order, or one of them, to `left`, `delivered` or `lost`, and queue a
    webhook for each. A lost parcel can still be delivered.

    None when no parcel can move to that status: not accepted, or already there.
    """
    fulfillment = store.find("fulfillment", order_id)
    if fulfillment is None:
        return None
    moved = {
        parcel["id"]: _moved(parcel, status)
        for parcel in fulfillment["parcels"]
        if parcel["status"] in _PREVIOUS_STATUSES[status] and parcel_id in {None, parcel["id"]}
    }
    if not moved:
        return None
    # By the contract a fulfilment stays `left`; only its parcels change further.
    parcels = [moved.get(parcel["id"], parcel) for parcel in fulfillment["parcels"]]
    fulfillment |= {"status": "left", "parcels": parcels}
    store.save("fulfillment", fulfillment, object_id=order_id)
    for parcel in moved.values():
        event = {
            "id": new_id("wev"),
            "type": f"parcel.{status}",
            "created": now,
            "order_id": order_id,
            "parcel": parcel,
        }
        if store.has_webhook("warehouse"):
            store.enqueue_webhook("warehouse", event, now)
    return fulfillment


def _moved(parcel: JsonObject, status: str) -> JsonObject:
    tracking = parcel.get("tracking") or _tracking()
    return {**parcel, "status": status, "tracking": tracking}


def _tracking() -> str:
    """A reference as many carriers write it, with spaces: `AB 1234 5678 9GB`."""
    digits = f"{secrets.randbelow(10**9):09}"
    return f"AB {digits[:4]} {digits[4:8]} {digits[8]}GB"
