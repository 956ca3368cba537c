"""The HTTP edge: from HTTP to the clients of running orders. It translates, and decides nothing.

app.py        the parts put together: every file of routes is named there, open or guarded
parts.py      what the routes are handed: ``Edge``, made by ``api.py``, and the routes' arguments

The way of a request: headers.py → reception.py (its id, its line in the log, no fault without an
answer) → gate.py (its key: keyring.py, rates.py) → bodies.py → a route, if access.py lets the key.

problems.py   what is answered when it does not work out: application/problem+json, one type a kind
refusals.py   which kind of problem each error of the clients is
describing.py what OpenAPI says of problems
shapes.py     the JSON that several routes share: money, lines, an order; how strictly what is sent
              is read
streams.py    answers that go on: how many, kept alive, freed when their callers go away

admission.py  whose key it is and how often: for the gate, and for the operator's login

The routes: placing.py (new orders, lists), checkout.py, orders.py (one order, decisions about it),
events.py (live), refunds.py; health.py with readiness.py, metrics.py, docs.py;
webhooks.py (no key, signed).
operator/: pages for people, with sessions in place of keys.

To add routes: write a file with a ``router``, name it in ``app.GUARDED`` with the scope that it
needs, or in ``app.OPEN``; what it needs of the world is a field of ``parts.Edge``, filled by
``api.py``.
"""
