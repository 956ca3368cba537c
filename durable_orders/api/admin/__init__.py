"""Admin pages for operators: plain HTML, rendered on the server, without JavaScript.

office.py       dependencies: ``AdminDependencies``, filled by ``durable_orders/api/server.py``
door.py         sessions: log in, authenticate a request, log out
browser.py      the session cookie, and checks of a form's origin
visits.py       the arguments of the routes: ``Admin``, an authenticated request; ``VerifiedForm``
rendering.py    templates, and errors as pages
words.py        template filters and labels

login.py  overview.py  order.py  decisions.py  refund_form.py  giving_back.py  rest.py  the routes
templates/      a page each; ``base.html`` is around all of them
files/          style sheet and icon

A route that changes something takes a ``VerifiedForm``, whose token belongs to the session. It
answers with a redirect, and the next page shows the outcome as a flash message.
"""
