"""The outside world on one machine, for the demo and the tests.

`python -m sandbox` runs a real Temporal server, a real PostgreSQL and an HTTP stand-in for
Stripe, Resend and the warehouse. Production code never imports this package, and this package
imports nothing of the production code: they meet over the network only.
"""
