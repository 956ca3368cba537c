"""Clients of the workflows, for shops, the HTTP API and the command line.

orders.py            OrderClient: what a shop does with its orders; checkout.py: starting them
order_operations.py  OrderOperations: what an operator does with them
refunds.py           RefundClient
audits.py            AuditClient
errors.py            what they raise

connection.py        connect to Temporal, wait for it, translate its errors
workflow_calls.py    calls to workflows, with Temporal's errors mapped to ours; for orders in
                     order_calls.py, for refunds in refund_calls.py
update_limiter.py    limits concurrent Updates per workflow
history.py           follows a workflow by its history
run_inspector.py     adapter: the audit's port OrderRuns over Temporal
"""
