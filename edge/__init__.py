"""The HTTP edge: from HTTP to the clients of running orders. It translates, and decides nothing.

app.py        the parts put together: every file of routes is named there
parts.py      what the routes are handed: ``Edge``, made by ``api.py``, and the routes' arguments
problems.py   what is answered when it does not work out: application/problem+json, one type a kind
refusals.py   which kind of problem each error of the clients is
reception.py  the way every request goes: its id, its line in the log, no fault without an answer

checkout.py   orders.py   health.py     the routes, by what they are about

To add routes: write a file with a ``router``, name it in ``app.ROUTERS``; what it needs of the
world is a field of ``parts.Edge``, filled by ``api.py``.
"""
