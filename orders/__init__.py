"""The domain of Durable Orders: what an order is and what may happen to it.

Pure standard library: no clock, no randomness, no I/O. Times are passed in, decisions come out.

Glossary
--------
order           what a customer wants to buy: lines, a total, a card, an address. It is kept in
                PostgreSQL; everywhere else it is known by its id.
run             the workflow execution that carries one order to its end; its id is ``order-{id}``.
reserve         set stock aside for an order; *release* gives it back, *commit* takes it for good.
charge          one attempt to take the order's total from a card. Attempts are counted in business
                terms (a new card is a new attempt), never in retries.
fulfil          have the warehouse accept the order; its answer names the parcels.
recall          take an accepted order back before a parcel leaves.
undo            reverse a step that happened, or that may have happened.
outcome         how an order ended, derived from what was really paid, shipped and refunded.
no answer       a neighbour (Stripe, the warehouse, Resend, PostgreSQL) did not tell; never a "no".
attention       something keeps failing and a person should look.

States, and what may follow which, are in ``orders.lifecycle``.
"""
