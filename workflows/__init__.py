"""Workflows: the deterministic orchestration of orders, refunds and audits."""
