"""The commands of ``python client.py``.

orders      orders: place, start, status, watch, cancel, result
payments    payments: new-card, finish-payment, payment-updated
desk        operators: list, attention, approve, reject, retry-now, skip-step, resolve
parcels     parcels: parcel, resend-parcel, refund-parcel, settle-parcel
refunds     refunds: refund request, refund status, refund list, refund approve, …
keys        API keys: keys create, keys list, keys revoke
audit       the audit: schedule, reconcile, findings, acknowledge
terminal    what the commands share: context, output, exit codes

Each module has a ``typer.Typer`` named ``app``; ``cli.py`` combines them.
"""
