"""Shops that use ``durable_orders`` from FastAPI and from Django; docs/integrate.md explains them.

fastapi_by_id.py, django_by_id.py            start, follow and cancel orders by id, with no database
fastapi_with_store.py, django_with_store.py  place and show them too, with the order store
fastapi_over_http.py, django_over_http.py    the same over HTTP: neither Temporal nor a database

background.py  an event loop in a thread, for Django's synchronous views
cart.py        what a customer buys, as the browser sends it; basket.py: as the store takes it
errors.py      the HTTP status of each error that the clients raise; django_errors.py: as middleware

Whose order it is, a real shop checks in each of them: log-ins are left out here.
"""
