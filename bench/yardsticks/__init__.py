"""Yardsticks: other ways to process an order, measured beside ours in the same run.

- ``empty``: a Temporal workflow that does nothing, on the SDK's defaults: the engine's floor.
- ``seed``: what this project improves upon: four normal activities on the SDK's defaults.
- ``dbos``: the same four steps on DBOS Transact, which keeps its books in PostgreSQL.

The steps of both are the same (``steps.py``), as somebody writes them who follows each library's
documentation: idempotency keys, no undo, no checks, one connection pool per neighbour.
"""
