"""Parse Stripe's form-encoded parameters and validate them against an endpoint's schema.

Source: the parameter tables of the API reference. An unknown parameter is rejected with
`parameter_unknown`, so that a typo in a caller is found here and not in production. A parameter of
Stripe's that the stand-in does not implement is unknown too: ignored, it would promise something.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.errors import exclusive, invalid

ParameterSchema = Mapping[str, "str | tuple[str, ...] | ParameterSchema"]
"""Parameter name to its kind: `text`, `email`, `integer`, `boolean`, `timestamps`, `list`, `map`
(free keys), `off_session`, `removed` (in this version of the API), a tuple of allowed values, or a
nested schema. A name that ends in `!` is required."""

EXPAND: Final[ParameterSchema] = {"expand": "list"}
PAGE: Final[ParameterSchema] = {
    "limit": "integer",
    "starting_after": "text",
    "ending_before": "text",
    "expand": "list",
    "created": "timestamps",
}
ONE_CURSOR: Final = (("starting_after", "ending_before"),)
ADDRESS: Final[ParameterSchema] = {
    "city": "text",
    "country": "text",
    "line1": "text",
    "line2": "text",
    "postal_code": "text",
    "state": "text",
}
SHIPPING: Final[ParameterSchema] = {"address!": ADDRESS, "name!": "text", "phone": "text"}

_DEEPEST: Final = 20
_INDEX: Final = re.compile("[0-9]{1,9}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@.\s]+(?:\.[^@.\s]+)+")


@dataclass(frozen=True)
class _Field:
    name: str
    value: Any


def parse(encoded: str) -> JsonObject:
    """`a[b]=1&expand[0]=x` → `{"a": {"b": "1"}, "expand": ["x"]}`."""
    tree: JsonObject = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        head, *rest = name.replace("]", "").split("[")
        if len(rest) > _DEEPEST:
            raise invalid(f"Invalid object: {head} is too deep", param=head)
        branch = tree
        for step, following in zip([head, *rest], rest, strict=False):
            branch = branch.setdefault(step, {})
            if not isinstance(branch, dict):
                raise invalid(f"Invalid object: {name} at {following}", param=head)
        leaf = rest[-1] if rest else head
        branch[leaf or str(len(branch))] = value
    return {name: _arrays(value) for name, value in tree.items()}


def _arrays(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(_INDEX.fullmatch(key) for key in value):
        return [_arrays(item) for _, item in sorted(value.items(), key=lambda pair: int(pair[0]))]
    return {key: _arrays(item) for key, item in value.items()}


def validated(given: JsonObject, schema: ParameterSchema, within: str = "") -> JsonObject:
    """The parameters converted to their types; raises Stripe's 400."""
    kinds = {name.rstrip("!"): kind for name, kind in schema.items()}
    found: JsonObject = {}
    for name, value in given.items():
        full = f"{within}[{name}]" if within else name
        if name not in kinds:
            raise invalid(
                f"Received unknown parameter: {full}", code="parameter_unknown", param=full
            )
        if value == "" and kinds[name] != "map" and kinds[name] != "list":
            if f"{name}!" in schema:
                raise _missing_parameter(full)
            continue  # an empty string unsets a parameter
        found[name] = _typed(_Field(full, value), kinds[name])
    for name in schema:
        if name.endswith("!") and name[:-1] not in given:
            raise _missing_parameter(f"{within}[{name[:-1]}]" if within else name[:-1])
    return found


def check_exclusive(params: JsonObject, groups: tuple[tuple[str, ...], ...]) -> None:
    """Raise Stripe's 400 for two parameters of one group, which exclude each other."""
    for names in groups:
        if sum(name in params for name in names) > 1:
            raise exclusive(names)


def _missing_parameter(name: str) -> Exception:
    return invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)


def _typed(field: _Field, kind: "str | tuple[str, ...] | ParameterSchema") -> Any:
    if isinstance(kind, Mapping):
        if not isinstance(field.value, dict):
            raise invalid("Invalid object", param=field.name)
        return validated(field.value, kind, field.name)
    if isinstance(kind, tuple):
        return _enum(field, kind)
    read = _READERS[kind]
    return read(field)


def _enum(field: _Field, allowed: tuple[str, ...]) -> str:
    if field.value not in allowed:
        raise invalid(
            f"Invalid {field.name}: must be one of {', '.join(allowed)}", param=field.name
        )
    return str(field.value)


def _text(field: _Field) -> str:
    if not isinstance(field.value, str):
        raise invalid("Invalid string", param=field.name)
    return field.value


def _email(field: _Field) -> str:
    text = _text(field)
    # Which addresses Stripe takes is documented nowhere; others than ASCII may be among them.
    if not _EMAIL.fullmatch(text) or not text.isascii():
        raise invalid(f"Invalid email address: {text}", code="email_invalid", param=field.name)
    return text


def _off_session(field: _Field) -> bool:
    return field.value in ("one_off", "recurring") or _boolean(field)


def _removed(field: _Field) -> Any:
    message = f"{field.name} is no longer supported: use allowed_payment_method_types."
    raise invalid(message, code=f"{field.name}_no_longer_supported", param=field.name)


def _integer(field: _Field) -> int:
    try:
        return int(_text(field))
    except ValueError:
        message = f"Invalid integer: {field.value}"
        raise invalid(message, code="parameter_invalid_integer", param=field.name) from None


def _boolean(field: _Field) -> bool:
    if field.value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {field.value}", param=field.name)
    return bool(field.value == "true")


def _list(field: _Field) -> list[Any]:
    if field.value == "":
        return []
    if not isinstance(field.value, list):
        raise invalid("Invalid array", param=field.name)
    return field.value


def _map(field: _Field) -> JsonObject:
    """A map with free keys; the limits of metadata are those of "Metadata"."""
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


def _timestamps(field: _Field) -> dict[str, int]:
    """`created=…` or `created[gte]=…`."""
    if isinstance(field.value, str):
        return {"is": _integer(field)}
    if not isinstance(field.value, dict):
        raise invalid("Invalid object", param=field.name)
    return validated(
        field.value,
        {"gt": "integer", "gte": "integer", "lt": "integer", "lte": "integer"},
        field.name,
    )


_READERS: Final = {
    "text": _text,
    "email": _email,
    "off_session": _off_session,
    "removed": _removed,
    "integer": _integer,
    "boolean": _boolean,
    "list": _list,
    "map": _map,
    "timestamps": _timestamps,
}
