"""The promise, kept before your eyes: orders that survive kill -9. `python -m demo`.

A process of its own on the sandbox, like ``worker.py`` a place where the parts are put together.
``stage`` and ``invariants`` also serve the end-to-end tests and the measurements.
"""
