"""Benchmarks: the cost of an order, recovery after a kill, and the throughput of the HTTP API.

`make bench` runs everything on this machine with real processes. An order is measured beside other
ways to process one (``bench/yardsticks``), recovery and the edge beside a baseline that does
nothing, all in the same run. The ratios matter; the times depend on the machine.

Read in this order: ``systems.py`` (servers, workers, load generators), ``orders.py``,
``slow_neighbours.py``, ``recovery.py``, ``edge.py``, ``report.py``.
"""
