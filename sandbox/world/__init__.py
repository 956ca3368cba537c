"""An HTTP stand-in of the outside world: Stripe, Resend and the warehouse, and dials to break them.

What matters for correctness (idempotency keys, declines, holds, refund limits, recalls) is kept as
the real services document it, durably; the rest is left out.

Read in this order: `app.py`, `request_pipeline.py` (the way every request goes), `stripe/api.py`,
`stripe/intents.py`, `resend_api.py`, `warehouse_api.py`, `state_store.py`. For tests and the demo:
`sandbox/fault_client.py` breaks things, `sandbox/books_client.py` reads what really happened.
"""

from sandbox.world.app import create_app
from sandbox.world.server import World, WorldPortBusyError, serve

__all__ = ["World", "WorldPortBusyError", "create_app", "serve"]
