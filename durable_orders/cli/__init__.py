"""The commands of ``durable-orders``, which is ``python client.py`` in a checkout.

orders      orders: place, start, status, watch, cancel, result
payments    payments: new-card, finish-payment, payment-updated
operations  operators: list, attention, approve, reject, retry-now, skip-step, resolve
parcels     parcels: parcel, resend-parcel, refund-parcel, settle-parcel
refunds     refunds: refund request, refund status, refund list, refund approve, …
api_keys    API keys: keys create, keys list, keys revoke
sessions    sessions of the operators' pages: sessions list, sessions end
store       the database: store migrate, store seed, store check
audit       the audit: schedule, reconcile, findings, acknowledge
terminal    what the commands share: output and exit codes
running     run the work of a command with the clients, loaded only then
composition the clients and repositories that commands use; loaded when a command runs

Each module of commands has a ``typer.Typer`` named ``app``; ``app.py`` combines them, and
``entry_point.py`` starts it, or names the extra that is not installed.
"""
