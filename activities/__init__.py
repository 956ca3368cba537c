"""Activities: one class per neighbour, each method one conversation that is safe to repeat.

Nothing here decides on retries (`workflows/retry_policies.py`) or on business facts (`orders/`).
"""
