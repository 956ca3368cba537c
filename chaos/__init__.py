"""Chaos: all kinds of orders under a seeded schedule of faults, then the books. `python -m chaos`.

Like ``worker.py`` it is a composition root. Everything runs on this machine, on a sandbox of its
own. ``plan`` is pure: the same seed is the same schedule. The rest carries it out.
"""
