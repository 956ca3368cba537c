"""The HTTP API: FastAPI routes over the order and refund clients. It translates, decides nothing.

app.py        create_app: routes, middleware, exception handlers; lists every router by its scope
parts.py      dependencies: ``Dependencies``, filled by ``serving.py``, and the routes' arguments

Middleware, outermost first: headers.py (security headers) → reception.py (request id, access log,
metrics, 500 for an unexpected error) → gate.py (API key) → bodies.py (size of the body).

access.py     the scope that a route needs
admission.py  authentication and rate limits, for API keys and for logins; keyring.py caches API
              keys, rates.py is the rate limiter
problems.py   problem details (RFC 9457): the problem types
refusals.py   exception handlers: which error of the clients is which problem
describing.py OpenAPI: the document, and the problems that a route declares
shapes.py     request and response models that several routes share
streams.py    server-sent events: limit, heartbeat, clean-up

Routes: placing.py (place, list), checkout.py, orders.py (read, cancel, approve, reject, payment
method), events.py, refunds.py, webhooks.py (signed, no API key), health.py with readiness.py,
metrics.py, docs.py.
operator/: admin pages, with sessions instead of API keys.

To add routes: write a module with a ``router`` and add it in ``app.py`` to ``PROTECTED_ROUTERS``
with the scope that it needs, or to ``PUBLIC_ROUTERS``. An object that the routes need is a field of
``parts.Dependencies``, set in ``serving.py``.
"""
