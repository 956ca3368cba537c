"""Entry point of the HTTP API: ``python api.py``. See ``durable_orders.api.process``."""

from durable_orders.api.process import main
from durable_orders.process import exit_process

if __name__ == "__main__":
    exit_process(main())
