"""The pages of the people who work here: plain HTML, made on the server, without JavaScript.

office.py     what the pages need of the world, put together by ``api.py``
door.py       logging in and out: who is behind a request
browser.py    what a browser tells and keeps: cookies, where a form comes from
visits.py     a route's arguments: the visit of somebody who is let in, a form that is theirs
rendering.py  templates, and what goes wrong as a page
words.py      what the pages say in words

login.py  overview.py  order.py  decisions.py  giving_back.py  rest.py   the routes
templates/    a page each; ``base.html`` is around all of them
files/        what a page consists of beside its text

A route that changes something takes ``Sent``: that is the form, checked to be of this session.
After it comes a redirect, and the next page says what became of it.
"""
