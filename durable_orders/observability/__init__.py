"""What processes tell of their work: so far, what each line of a log belongs to.

context.py   the order and the request that the current task works for
"""
