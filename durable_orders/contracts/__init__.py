"""The workflows as their callers see them: names, messages, errors, search attributes.

order.py, refund.py, audit.py    each workflow's run, signals, Updates and queries, typed, without
                                 a body
error_types.py                   why workflows fail and refuse Updates
search_attributes.py             what workflows can be searched by
timeouts.py                      how workflows are started
data_converter.py                how messages are encoded

Callers import this and never the workflows' code, so that they start fast and are deployed apart
from the workers. A workflow does not inherit from its contract: a handler that it forgets would be
inherited silently. ``tests/workflows/test_contracts.py`` compares the two instead.
"""
