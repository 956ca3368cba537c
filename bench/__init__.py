"""Measures what matters in operation: recovery after a kill, and what an order costs.

`python -m bench` (or `make bench`) runs everything on this machine, with real worker processes,
beside a yardstick in the same run: a workflow of the same shape whose four activities do nothing,
on the SDK's default settings. Read the ratios; the times belong to the machine.
"""
