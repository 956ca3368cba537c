"""Local sandbox for the demo and the tests: everything that the system depends on, on one machine.

`python -m sandbox` runs a real Temporal server, a real PostgreSQL and an HTTP stand-in for
Stripe, Resend and the warehouse. Production code never imports this package, and this package
imports no production code: they communicate over the network only.
"""


class SandboxError(Exception):
    """Base class of the sandbox's errors. The message is one sentence for the user.

    SandboxError
    ├── StateInUseError     another sandbox uses the same state directory       (state.py)
    ├── StateUnusableError  the state directory cannot be created or written    (state.py)
    ├── PortBusyError       a port is in use; names the setting that changes it (ports.py)
    ├── StartError          a process did not start; with its last log lines    (child.py)
    └── PartDiedError       a process ended unexpectedly; the same              (child.py)
    """
