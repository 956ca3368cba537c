"""Check requests to Stripe, and objects like Stripe's, against the types of the pinned SDK.

The SDK declares a `TypedDict` for the parameters of each request, with names, nesting, required
fields and enumerations, and a class for each object, generated from Stripe's own description of the
API. Where it writes `Literal[…] | str`, the `str` is for values of later versions: here only those
of this version count.
"""

import builtins
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import parse_qsl

import stripe
from stripe.params import (
    AccountRetrieveCurrentParams,
    ChargeListParams,
    ChargeRetrieveParams,
    CustomerCreateParams,
    CustomerDeleteParams,
    CustomerListParams,
    CustomerListPaymentMethodsParams,
    CustomerRetrieveParams,
    CustomerUpdateParams,
    DisputeCloseParams,
    DisputeListParams,
    DisputeRetrieveParams,
    DisputeUpdateParams,
    PaymentIntentCancelParams,
    PaymentIntentCaptureParams,
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentIntentUpdateParams,
    PaymentMethodAttachParams,
    PaymentMethodCreateParams,
    PaymentMethodDetachParams,
    PaymentMethodListParams,
    PaymentMethodRetrieveParams,
    RefundCreateParams,
    RefundListParams,
    RefundRetrieveParams,
    ReviewApproveParams,
    ReviewListParams,
    ReviewRetrieveParams,
)
from stripe.params.radar import EarlyFraudWarningListParams, EarlyFraudWarningRetrieveParams
from typing_extensions import is_typeddict

#: Method and path, with `*` for an id, and the SDK's type of the parameters.
REQUESTS: Final[dict[tuple[str, str], Any]] = {
    ("GET", "/v1/account"): AccountRetrieveCurrentParams,
    ("POST", "/v1/payment_intents"): PaymentIntentCreateParams,
    ("GET", "/v1/payment_intents"): PaymentIntentListParams,
    ("GET", "/v1/payment_intents/*"): PaymentIntentRetrieveParams,
    ("POST", "/v1/payment_intents/*"): PaymentIntentUpdateParams,
    ("POST", "/v1/payment_intents/*/confirm"): PaymentIntentConfirmParams,
    ("POST", "/v1/payment_intents/*/capture"): PaymentIntentCaptureParams,
    ("POST", "/v1/payment_intents/*/cancel"): PaymentIntentCancelParams,
    ("GET", "/v1/charges"): ChargeListParams,
    ("GET", "/v1/charges/*"): ChargeRetrieveParams,
    ("POST", "/v1/refunds"): RefundCreateParams,
    ("GET", "/v1/refunds"): RefundListParams,
    ("GET", "/v1/refunds/*"): RefundRetrieveParams,
    ("POST", "/v1/payment_methods"): PaymentMethodCreateParams,
    ("GET", "/v1/payment_methods"): PaymentMethodListParams,
    ("GET", "/v1/payment_methods/*"): PaymentMethodRetrieveParams,
    ("POST", "/v1/payment_methods/*/attach"): PaymentMethodAttachParams,
    ("POST", "/v1/payment_methods/*/detach"): PaymentMethodDetachParams,
    ("POST", "/v1/customers"): CustomerCreateParams,
    ("GET", "/v1/customers"): CustomerListParams,
    ("GET", "/v1/customers/*"): CustomerRetrieveParams,
    ("POST", "/v1/customers/*"): CustomerUpdateParams,
    ("DELETE", "/v1/customers/*"): CustomerDeleteParams,
    ("GET", "/v1/customers/*/payment_methods"): CustomerListPaymentMethodsParams,
    ("GET", "/v1/disputes"): DisputeListParams,
    ("GET", "/v1/disputes/*"): DisputeRetrieveParams,
    ("POST", "/v1/disputes/*"): DisputeUpdateParams,
    ("POST", "/v1/disputes/*/close"): DisputeCloseParams,
    ("GET", "/v1/reviews"): ReviewListParams,
    ("GET", "/v1/reviews/*"): ReviewRetrieveParams,
    ("POST", "/v1/reviews/*/approve"): ReviewApproveParams,
    ("GET", "/v1/radar/early_fraud_warnings"): EarlyFraudWarningListParams,
    ("GET", "/v1/radar/early_fraud_warnings/*"): EarlyFraudWarningRetrieveParams,
}

#: Fields whose name is a keyword of Python.
_FIELD_NAMES: Final = {"from_": "from"}

_OPTIONS: Final = frozenset(stripe.RequestOptions.__annotations__)


@dataclass(frozen=True)
class SentRequest:
    """One request to Stripe; `parameters` is the form, or the query of a GET."""

    method: str
    path: str
    parameters: str

    @property
    def pattern(self) -> tuple[str, str]:
        """Method and path, with `*` for an id; the path itself if it is unknown."""
        for method, pattern in REQUESTS:
            expression = re.escape(pattern).replace(r"\*", "[^/]+")
            if method == self.method and re.fullmatch(expression, self.path):
                return method, pattern
        return self.method, self.path

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.parameters}"


def mistakes_of_request(request: SentRequest) -> list[str]:
    """What is wrong with the request; empty when the SDK's types allow it."""
    kind = REQUESTS.get(request.pattern)
    if kind is None:
        return [f"{request.method} {request.path} has no type in tests/support/stripe_types.py"]
    return list(_mistakes(_tree(request.parameters), kind, ""))


def mistakes_of_object(body: Mapping[str, Any], kind: type[Any]) -> list[str]:
    """What the object has that the SDK's class does not know: fields, types, enumerations."""
    # As JSON, because an object that is expanded by the SDK is a dictionary for this.
    return list(_object_mistakes(json.loads(json.dumps(body)), kind, ""))


def parameter_types(kind: Any) -> dict[str, Any]:
    """The names of the parameters of a `TypedDict`, without the SDK's own request options."""
    hints = kind.__annotations__
    left_out = _OPTIONS if set(hints) >= _OPTIONS else frozenset()
    names = _Names(vars(sys.modules[kind.__module__]))
    return {name: _evaluated(hint, names) for name, hint in hints.items() if name not in left_out}


def nested_type(hint: Any) -> Any | None:
    """The `TypedDict` among the alternatives of a type, if there is one."""
    return next((one for one in _alternatives(hint) if is_typeddict(one)), None)


def literals(hint: Any) -> set[str]:
    """The enumeration among the alternatives of a type."""
    return {
        value
        for one in _alternatives(hint)
        if get_origin(one) is Literal
        for value in get_args(one)
        if value != ""
    }


class _Names(dict[str, Any]):
    """Names of the SDK's modules; one that only type checkers can import stands for anything."""

    def __missing__(self, name: str) -> Any:
        if name in vars(builtins):
            raise KeyError(name)
        return getattr(stripe, name, Any)


def _evaluated(hint: Any, names: _Names) -> Any:
    """A type whose names are texts, and which says that the field may be left out."""
    holder = type("Holder", (), {"__annotations__": {"field": hint}})
    return typing.get_type_hints(holder, {}, names)["field"]


def _tree(encoded: str) -> dict[str, Any]:
    """`a[b]=1&expand[0]=x` → `{"a": {"b": "1"}, "expand": {"0": "x"}}`."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        *path, leaf = name.replace("]", "").split("[")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[leaf or str(len(branch))] = value
    return tree


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in {Union, types.UnionType}:
        return tuple(one for each in get_args(hint) for one in _alternatives(each))
    return (hint,)


# -- requests --------------------------------------------------------------------------------------


def _mistakes(value: Any, hint: Any, name: str) -> Iterator[str]:
    """The mistakes of a value by the alternative of its type that fits best."""
    alternatives = _strict(hint)
    if isinstance(value, dict):  # then it is not meant as the empty text that unsets a field
        alternatives = [one for one in alternatives if get_origin(one) is not Literal]
    found = [list(_mistakes_of(value, one, name)) for one in alternatives]
    yield from min(found, key=len)


def _strict(hint: Any) -> list[Any]:
    """The alternatives, without a `str` that stands beside an enumeration."""
    return [one for one in _alternatives(hint) if one is not str or not literals(hint)]


def _mistakes_of(value: Any, hint: Any, name: str) -> Iterator[str]:
    if is_typeddict(hint):
        yield from _mapping_mistakes(value, hint, name)
    elif get_origin(hint) is Literal:
        if value not in get_args(hint):
            yield f"{name}={value}: must be one of {', '.join(map(repr, get_args(hint)))}"
    elif get_origin(hint) is list:
        yield from _list_mistakes(value, get_args(hint)[0], name)
    elif get_origin(hint) is dict or hint is stripe.StripeObject:
        if not isinstance(value, dict):
            yield f"{name}={value}: must be a map"
    elif not _fits(value, hint):
        yield f"{name}={value}: must be {getattr(hint, '__name__', hint)}"


def _mapping_mistakes(value: Any, hint: Any, name: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{name}={value}: must have fields"
        return
    known = parameter_types(hint)
    for field, inner in value.items():
        full = f"{name}[{field}]" if name else field
        if field not in known:
            yield f"{full}: unknown"
        else:
            yield from _mistakes(inner, known[field], full)
    for field in sorted(hint.__required_keys__ - set(value)):
        yield f"{name}[{field}]: missing" if name else f"{field}: missing"


def _list_mistakes(value: Any, hint: Any, name: str) -> Iterator[str]:
    if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
        yield f"{name}={value}: must be a list"
        return
    for place, inner in value.items():
        yield from _mistakes(inner, hint, f"{name}[{place}]")


def _fits(value: Any, hint: Any) -> bool:
    if not isinstance(value, str):
        # The SDK's `UntypedStripeObject`, beside the dictionary that it is.
        return isinstance(value, dict) and "UntypedStripeObject" in str(hint)
    if hint is int:
        return re.fullmatch(r"-?[0-9]+", value) is not None
    if hint is bool:
        return value in {"true", "false"}
    return hint is str or hint is float


# -- objects ---------------------------------------------------------------------------------------


def _object_mistakes(value: Mapping[str, Any], kind: type[Any], name: str) -> Iterator[str]:
    known = _fields(kind)
    for field, inner in value.items():
        full = f"{name}.{field}" if name else field
        if field not in known:
            yield f"{full}: unknown"
        else:
            yield from _best_mistakes(inner, known[field], full)


def _best_mistakes(value: Any, hint: Any, name: str) -> Iterator[str]:
    alternatives = _strict(hint)
    if isinstance(value, dict):  # an object in place of its id, if there is a class for it
        classes = [one for one in alternatives if _is_object(one)]
        alternatives = classes or alternatives
    yield from min((list(_field_mistakes(value, one, name)) for one in alternatives), key=len)


def _fields(kind: type[Any]) -> dict[str, Any]:
    """The fields of one of the SDK's objects."""
    found: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.startswith("stripe") and each is not stripe.StripeObject:
            found |= inspect.get_annotations(each)
    names = _Names(vars(stripe) | vars(sys.modules[kind.__module__]) | vars(kind))
    public = {name: hint for name, hint in found.items() if not name.startswith("_")}
    return {_FIELD_NAMES.get(name, name): _evaluated(hint, names) for name, hint in public.items()}


def _field_mistakes(value: Any, hint: Any, name: str) -> Iterator[str]:
    if hint is Any or get_origin(hint) is typing.ClassVar:
        return
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            yield f"{name}={value!r}: must be one of {', '.join(map(repr, get_args(hint)))}"
    elif get_origin(hint) is list:
        if isinstance(value, list):
            for place, inner in enumerate(value):
                yield from _best_mistakes(inner, get_args(hint)[0], f"{name}.{place}")
        else:
            yield f"{name}={value!r}: must be a list"
    elif _is_object(hint) and isinstance(value, dict):
        if inspect.get_annotations(hint):
            yield from _object_mistakes(value, hint, name)
    elif get_origin(hint) is None:
        if type(value) is not hint and not (hint is float and type(value) is int):
            yield f"{name}={value!r}: must be {getattr(hint, '__name__', hint)}"
    elif not isinstance(value, dict):  # free keys
        yield f"{name}={value!r}: must be a map"


def _is_object(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, stripe.StripeObject)
