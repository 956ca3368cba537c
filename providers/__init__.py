"""The neighbours as they really are: one module each, behind the ports of `orders.ports`.

None of them retries: the workflow's policies do, and they know for how long. Each turns whatever
its neighbour does into an answer, or into one of the three errors of `orders.ports`.
"""
