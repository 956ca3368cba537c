"""The HTTP API: FastAPI routes over the order and refund clients. It translates, decides nothing.

process.py            the process: read the settings, listen, serve
server.py             composition root: database, Temporal and providers behind the application
app.py                create_app: routes, middleware, exception handlers; every router by its scope
dependencies.py       ``Dependencies``, and the dependencies that routes declare

middleware.py         outermost first: security headers, request id with access log and metrics,
                      API key, size of the body
auth.py               the scope that a route needs; the cache of API keys
rate_limits.py        authentication and rate limits, for API keys and for logins

problems.py           problem details (RFC 9457): the problem types
exception_handlers.py which error of the clients is which problem
openapi.py            the OpenAPI document, and the problems that a route declares
schemas.py            request and response models that several routes share
sse.py                server-sent events: limit, heartbeat, clean-up
webhook_inbox.py      webhooks: verify and store an event, acknowledge it, then deliver it

routes/               one module per subject; webhooks have a signature instead of an API key
admin/                pages for operators, with sessions instead of API keys

To add routes: write a module with a ``router`` and add it in ``app.py`` to ``PROTECTED_ROUTERS``
with the scope that it needs, or to ``PUBLIC_ROUTERS``. An object that the routes need is a field of
``Dependencies``, set in ``server.py``.
"""
