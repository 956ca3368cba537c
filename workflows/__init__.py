"""Deterministic orchestration: what happens to an order, in which order, and what is undone."""
