"""Form-encoded parameters as Stripe reads them, checked against what an endpoint accepts.

Source: the parameter tables of the API reference. A parameter that an endpoint does not have is
refused with `parameter_unknown`, so that a typo in a caller is noticed here and not in production.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from sandbox.world.state_store import Doc
from sandbox.world.stripe.errors import invalid

Shape = Mapping[str, "str | tuple[str, ...] | Shape"]
"""Parameter name to its kind: `text`, `integer`, `truth`, `list`, `map` (free keys), a tuple of
allowed words, or a nested shape. A name ending in `!` is required."""

EXPAND: Final[Shape] = {"expand": "list"}
PAGE: Final[Shape] = {
    "limit": "integer",
    "starting_after": "text",
    "ending_before": "text",
    "expand": "list",
    "created": "moments",
}


@dataclass(frozen=True)
class _Field:
    name: str
    value: Any


def parse(encoded: str) -> Doc:
    """`a[b]=1&expand[0]=x` → `{"a": {"b": "1"}, "expand": ["x"]}`."""
    tree: Doc = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        head, *rest = name.replace("]", "").split("[")
        branch = tree
        for step, following in zip([head, *rest], rest, strict=False):
            branch = branch.setdefault(step, {})
            if not isinstance(branch, dict):
                raise invalid(f"Invalid object: {name} at {following}", param=head)
        leaf = rest[-1] if rest else head
        branch[leaf or str(len(branch))] = value
    return {name: _listed(value) for name, value in tree.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_listed(item) for _, item in sorted(value.items(), key=lambda pair: int(pair[0]))]
    return {key: _listed(item) for key, item in value.items()}


def checked(given: Doc, shape: Shape, within: str = "") -> Doc:
    """The parameters with their types, or Stripe's 400."""
    kinds = {name.rstrip("!"): kind for name, kind in shape.items()}
    found: Doc = {}
    for name, value in given.items():
        full = f"{within}[{name}]" if within else name
        if name not in kinds:
            raise invalid(
                f"Received unknown parameter: {full}", code="parameter_unknown", param=full
            )
        if value == "" and kinds[name] not in {"map", "list"}:
            if f"{name}!" in shape:
                raise _absent(full)
            continue  # an empty string unsets a parameter
        found[name] = _typed(_Field(full, value), kinds[name])
    for name in shape:
        if name.endswith("!") and name[:-1] not in given:
            raise _absent(f"{within}[{name[:-1]}]" if within else name[:-1])
    return found


def _absent(name: str) -> Exception:
    return invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)


def _typed(field: _Field, kind: "str | tuple[str, ...] | Shape") -> Any:
    if isinstance(kind, Mapping):
        if not isinstance(field.value, dict):
            raise invalid("Invalid object", param=field.name)
        return checked(field.value, kind, field.name)
    if isinstance(kind, tuple):
        return _word(field, kind)
    read = _READERS[kind]
    return read(field)


def _word(field: _Field, words: tuple[str, ...]) -> str:
    if field.value not in words:
        raise invalid(f"Invalid {field.name}: must be one of {', '.join(words)}", param=field.name)
    return str(field.value)


def _text(field: _Field) -> str:
    if not isinstance(field.value, str):
        raise invalid("Invalid string", param=field.name)
    return field.value


def _integer(field: _Field) -> int:
    try:
        return int(_text(field))
    except ValueError:
        message = f"Invalid integer: {field.value}"
        raise invalid(message, code="parameter_invalid_integer", param=field.name) from None


def _truth(field: _Field) -> bool:
    if field.value not in {"true", "false"}:
        raise invalid(f"Invalid boolean: {field.value}", param=field.name)
    return bool(field.value == "true")


def _list(field: _Field) -> list[Any]:
    if field.value == "":
        return []
    if not isinstance(field.value, list):
        raise invalid("Invalid array", param=field.name)
    return field.value


def _map(field: _Field) -> Doc:
    """A map with keys of the caller's choice; metadata is limited as "Metadata" says."""
    if field.value == "":
        return {}
    if isinstance(field.value, list):  # metadata whose keys are all digits
        return {str(place): value for place, value in enumerate(field.value)}
    if not isinstance(field.value, dict):
        raise invalid("Invalid object", param=field.name)
    if field.name == "metadata":
        if len(field.value) > 50:
            raise invalid("Metadata may have 50 keys at most.", param="metadata")
        for key, value in field.value.items():
            if len(key) > 40 or not isinstance(value, str) or len(value) > 500:
                message = f"Metadata key {key!r}: 40 characters at most, its value 500."
                raise invalid(message, param=f"metadata[{key}]")
    return field.value


def _moments(field: _Field) -> dict[str, int]:
    """`created=…` or `created[gte]=…`."""
    if isinstance(field.value, str):
        return {"is": _integer(field)}
    return checked(
        field.value,
        {"gt": "integer", "gte": "integer", "lt": "integer", "lte": "integer"},
        field.name,
    )


_READERS: Final = {
    "text": _text,
    "integer": _integer,
    "truth": _truth,
    "list": _list,
    "map": _map,
    "moments": _moments,
}
