"""The commands of ``python client.py``, by who uses them.

orders      who buys: place, start, status, watch, cancel, result
payments    who pays: new-card, finish-payment, payment-updated
desk        who works here: list, attention, approve, reject, retry-now, skip-step, resolve
parcels     who ships: parcel, resend-parcel, refund-parcel, settle-parcel
refunds     who gives money back: refund request, refund status, refund list, refund approve, …
keys        who lets others in: keys create, keys list, keys revoke
audit       who checks: schedule, reconcile, findings

Each module has a ``typer.Typer`` named ``app``; ``cli.py`` puts them together.
"""
