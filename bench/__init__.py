"""Benchmarks: recovery after a kill, the cost of an order, and the throughput of the HTTP edge.

`python -m bench` (or `make bench`) runs everything on this machine with real processes. It measures
a baseline in the same run: a workflow of the same shape whose four activities do nothing, on the
SDK's default settings, and a route that does nothing. The ratios matter; the times depend on the
machine.
"""
