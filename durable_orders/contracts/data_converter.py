"""The data converter that workers and clients share."""

from __future__ import annotations

from typing import Final

from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

_JSON: Final = PydanticJSONPlainPayloadConverter()


class _PayloadConverter(CompositePayloadConverter):
    """The SDK's for pydantic, with one cache of validators per process.

    The SDK makes a converter per run, and its own would build all validators anew for every order:
    about a seventh of a worker's CPU time.
    """

    def __init__(self) -> None:
        super().__init__(
            *(
                _JSON if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


#: Decodes and validates the frozen messages of the domain, unions by their ``kind``.
DATA_CONVERTER: Final = DataConverter(payload_converter_class=_PayloadConverter)
