"""The domain of Durable Orders: what an order is and what may happen to it.

Pure standard library: no clock, no randomness, no I/O. Times are passed in, decisions come out.

Glossary
--------
order           what a customer buys: lines, a total, a card, an address. It is stored in
                PostgreSQL; messages and workflow histories know it by its id.
basket          a request for an order: products and quantities, priced from the catalogue.
workflow        the Temporal workflow of one order (``order-{id}``), of one refund
                (``refund-{order}-{refund}``), or of what is disputed of an order's payment
                (``payment-risk-{order}``); a *run* is one execution of it.
terms           the shop's rules that hold for one order, fixed when its run starts.
reserve         set stock aside for an order; *release* returns it, *commit* removes it for good.
charge          what takes the order's total: one PaymentIntent per order, whose id is the payment
                id. *Confirming* it with a card asks the bank.
try             one confirmation of the charge, by us, with one card. Tries are counted in business
                terms (another card is another try), never in retries.
hold            a charge that is authorized and not captured; *capture* takes the money.
fulfill         have the warehouse accept the order; its answer names the parcels. A fulfillment
                can be cancelled (*recall*) until a parcel leaves.
compensate      undo, as a saga does, a step that happened or that may have happened.
refund          money given back on request, of an order that is not undone any more.
dispute         what a cardholder's bank questions: an *inquiry* moves no money, a *chargeback*
                takes it until it is *won*. With *early fraud warnings* and *reviews* it is a
                payment's risks; each is a *concern* while it lasts.
outcome         how an order ended, derived from what was really paid, shipped and refunded.
provider        an external service: Stripe, the warehouse, Resend.
no answer       a provider or PostgreSQL did not answer, so the outcome is unknown; never a "no".
attention       a step keeps failing, and an operator should look.
operator        a person of the shop who approves, refunds and settles, under an operator's API key.
audit           the comparison of the provider's records, our database and Temporal. A *discrepancy*
                is repaired, or recorded as a *finding*.

Statuses and their transitions are in ``durable_orders.domain.lifecycle``, ids and idempotency keys
in ``durable_orders.domain.ids``, the formats of other texts in ``durable_orders.domain.texts``,
ports in ``durable_orders.domain.ports``.
"""
