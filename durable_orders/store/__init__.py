"""PostgreSQL: the catalogue, stock, orders, and the shop's own ledger of payments and refunds.

Locking: every change to an order locks the order's row first (``SELECT … FOR NO KEY UPDATE``), then
products by sku. There is one order of locking, so no deadlock. Invariants are constraints in
``tables.py``: PostgreSQL refuses what a fault in the code would store.

Statements that each order needs are module constants: building a statement, and finding its
compiled form in the cache, takes longer than PostgreSQL takes to run it.
"""
