"""Entry point of the HTTP API: ``python api.py``. See ``durable_orders.api.process``."""

from durable_orders.api.process import main
from durable_orders.process import exit_process, refuse_arguments

if __name__ == "__main__":
    refuse_arguments("Serve the HTTP API and the operators' pages until SIGTERM or Ctrl-C.")
    exit_process(main())
