"""Measures what matters in operation: recovery after a kill, what an order costs, and what the
HTTP edge takes.

`python -m bench` (or `make bench`) runs everything on this machine, with real processes, beside a
yardstick in the same run: a workflow of the same shape whose four activities do nothing, on the
SDK's default settings; a route that does nothing. Read the ratios; the times belong to the machine.
"""
