"""The stand-in: an HTTP server that replaces Stripe, Resend and the warehouse, and injects faults.

It follows the documentation of the real services in all that matters for correctness (idempotency
keys, declines, holds, refund limits, recalls) and stores its state durably; the rest is left out.

Read in this order: `app.py`, `request_pipeline.py` (every request to a provider passes it),
`stripe/api.py`, `stripe/intents.py`, `resend_api.py`, `warehouse_api.py`, `state_store.py`. Clients
for tests and the demo: `sandbox/fault_client.py` injects faults, `sandbox/books_client.py` reads
what was really done.
"""

from sandbox.world.app import create_app
from sandbox.world.server import StandInPortBusyError, StandInServer, serve

__all__ = ["StandInPortBusyError", "StandInServer", "create_app", "serve"]
