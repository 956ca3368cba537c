"""What the warehouse's people do: find the pieces, pack them, send the parcels off."""

from typing import Final

from sandbox.world.faults import Dial
from sandbox.world.state_store import Doc, Ledger, new_id

#: What a parcel may be before it is this.
_BEFORE: Final = {"left": {"accepted"}, "lost": {"left"}, "delivered": {"left", "lost"}}


def found(lines: list[Doc], dial: Dial | None) -> tuple[list[Doc], list[Doc]]:
    """What of the lines is on the shelves, and what is short."""
    if dial is None or dial.mode != "short":
        return lines, []
    if dial.sku is not None:
        short = [line for line in lines if line["sku"] == dial.sku]
        return [line for line in lines if line not in short], short
    *others, last = lines
    rest = last["quantity"] - 1
    found = [*others, *([{**last, "quantity": rest}] if rest else [])]
    return found, [{**last, "quantity": 1}]


def packed(lines: list[Doc], parcels: int) -> list[list[Doc]]:
    """Share the lines out over parcels; a line of several pieces may be torn apart for it."""
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


def replacement(parcel: Doc) -> Doc:
    """A new parcel with the same contents; the old one stays what it is, and may still turn up."""
    return {
        "id": new_id("par"),
        "status": "accepted",
        "lines": parcel["lines"],
        "resends": parcel["id"],
    }


def move_parcels(
    ledger: Ledger, order_id: str, status: str, now: int, *, parcel_id: str | None = None
) -> Doc | None:
    """Let the parcels of an order, or one of them, leave (`left`), arrive (`delivered`) or get
    `lost` on the way; tell by webhook. A lost one may still turn up.

    None when there is nothing that can move so: not accepted, or already there.
    """
    fulfillment = ledger.find("fulfillment", order_id)
    if fulfillment is None:
        return None
    moved = {
        parcel["id"]: _moved(parcel, status)
        for parcel in fulfillment["parcels"]
        if parcel["status"] in _BEFORE[status] and parcel_id in {None, parcel["id"]}
    }
    if not moved:
        return None
    # The contract's fulfilment ends at `left`; parcels go on.
    parcels = [moved.get(parcel["id"], parcel) for parcel in fulfillment["parcels"]]
    fulfillment |= {"status": "left", "parcels": parcels}
    ledger.save("fulfillment", fulfillment, thing_id=order_id)
    for parcel in moved.values():
        event = {
            "id": new_id("wev"),
            "type": f"parcel.{status}",
            "created": now,
            "order_id": order_id,
            "parcel": parcel,
        }
        if ledger.is_told("warehouse"):
            ledger.post("warehouse", event, now)
    return fulfillment


def _moved(parcel: Doc, status: str) -> Doc:
    tracking = parcel.get("tracking") or new_id("trk")
    return {**parcel, "status": status, "tracking": tracking}
