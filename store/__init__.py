"""PostgreSQL: the shop's catalogue and stock, its orders, and its own books of what was charged.

Two things hold this package together. The row of an order is that order's mutex: whatever changes
an order locks it first (``SELECT … FOR NO KEY UPDATE``), then products by sku, so there is one
order of locking and no deadlock. And what must never be wrong is a constraint in ``tables.py``, so
a fault in the code above it is refused, not stored.

Statements on an order's way are constants beside the code that runs them: to put one together, and
to find out that it is the one of the last order, takes longer than PostgreSQL does.
"""
