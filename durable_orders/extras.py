"""The extras of this package: which one brings a module that is not installed."""

from __future__ import annotations

from typing import Final

#: The optional dependencies of pyproject.toml: the modules that each extra brings.
MODULES: Final = {
    "store": ("sqlalchemy", "asyncpg", "alembic", "greenlet"),
    "cli": ("typer", "rich"),
    "providers": ("stripe", "resend", "standardwebhooks", "aiohttp", "yarl", "certifi"),
    "api": ("fastapi", "starlette", "uvicorn", "jinja2", "prometheus_client", "fastapi_offline"),
}
_EXTRA_OF: Final = {module: extra for extra, modules in MODULES.items() for module in modules}


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message says how to install it."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return the error that names the extra to install; None when no extra brings the module."""
    module = (error.name or "").partition(".")[0]
    if (extra := _EXTRA_OF.get(module)) is None:
        return None
    sentence = f"{module} is not installed: pip install 'durable-orders[{extra}]'"
    return MissingExtraError(sentence, name=module)
