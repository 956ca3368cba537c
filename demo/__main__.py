"""`python -m demo`: the story, then the books. Stays up until Ctrl-C when a person is watching.

Exit codes: 0 every promise holds, 1 one does not or the story stopped, 130 interrupted before that.
"""

from __future__ import annotations

import argparse

from durable_orders.process import exit_process


def main() -> None:
    """Run the demo, and end the process with its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog="It takes no arguments. DEMO_STATE: where it keeps its files, .sandbox/demo.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    from demo.run import run  # noqa: PLC0415 - slow to import, and --help needs none of it

    exit_process(run())


if __name__ == "__main__":
    main()
