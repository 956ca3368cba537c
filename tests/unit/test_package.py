"""What ``durable_orders`` offers to a shop, and what it costs to import."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import client
import durable_orders
from durable_orders import domain
from durable_orders.clients.orders import OrderClient

ROOT: Final = Path(__file__).resolve().parents[2]
#: Every module of the domain.
DOMAIN: Final = [
    module.name for module in pkgutil.walk_packages(domain.__path__, f"{domain.__name__}.")
]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after it."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def parts(modules: set[str]) -> set[str]:
    """The distributions' modules, and the package's own parts, among all that was loaded."""
    own = {".".join(name.split(".")[:2]) for name in modules if name.startswith("durable_orders.")}
    return {name.partition(".")[0] for name in modules} | own


@pytest.mark.parametrize(
    "statement",
    [
        "import durable_orders",
        "from durable_orders import Basket, Money, RefundRequest, Status",
        "import durable_orders.clients.errors",
        f"import {', '.join(DOMAIN)}",
        "import durable_orders.cli.app",
        "import durable_orders.store",
    ],
)
def test_no_sdk_is_loaded_before_it_is_used(statement: str) -> None:
    assert not parts(loaded_by(statement)) & {"temporalio", "sqlalchemy", "stripe", "resend"}


def test_a_client_is_loaded_without_what_only_processes_need() -> None:
    loaded = parts(loaded_by("from durable_orders import *"))
    assert "temporalio" in loaded
    assert not loaded & {
        *("workflows", "activities", "sandbox"),
        *("durable_orders.store", "durable_orders.providers", "durable_orders.settings"),
        *("sqlalchemy", "fastapi", "stripe", "resend", "typer"),
    }


def test_the_store_is_loaded_without_what_only_processes_need() -> None:
    loaded = parts(loaded_by("from durable_orders.store import *"))
    assert {"sqlalchemy", "durable_orders.store"} <= loaded
    assert not loaded & {
        *("durable_orders.clients", "durable_orders.providers", "durable_orders.settings"),
        *("temporalio", "fastapi", "stripe", "resend", "typer"),
    }


@pytest.mark.parametrize("name", durable_orders.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(durable_orders, name) is not None
    assert name in dir(durable_orders)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    for module in (durable_orders, durable_orders.store, client):
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
            _ = module.Nothing


def test_the_command_lines_module_has_the_client_too() -> None:
    assert client.OrderClient is OrderClient


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "durable_orders" / "py.typed").exists()
