"""The demo: orders that survive kill -9, on a sandbox. `python -m demo`.

Like ``worker.py`` it is a composition root. The end-to-end tests use ``environment`` and
``invariants`` too.
"""
