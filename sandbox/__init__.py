"""The outside world on one machine, for the demo and the tests.

`python -m sandbox` runs a real Temporal server, a real PostgreSQL and an HTTP stand-in for
Stripe, Resend and the warehouse. Production code never imports this package, and this package
imports nothing of the production code: they meet over the network only.
"""


class SandboxError(Exception):
    """The sandbox cannot go on. The message is one sentence for the person who started it.

    SandboxError
    ├── StateInUseError     another sandbox runs on the same state             (state.py)
    ├── StateUnusableError  the state directory cannot be made or written      (state.py)
    ├── PortBusyError       a port is taken; says which setting changes it     (ports.py)
    ├── StartError          a part did not come up; with its last log lines    (child.py)
    └── PartDiedError       a part ended while it should be running; the same  (child.py)
    """
