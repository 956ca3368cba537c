"""Adapters for the external services (Stripe, Resend, the warehouse), behind the ports of `orders`.

No adapter retries: the workflow's retry policies do. Each turns every outcome of a call into an
answer, or into one of the three errors of `durable_orders.domain.ports`.
"""
