"""What each error code of Stripe's means to us: sorted once, for every code the SDK knows.

From https://docs.stripe.com/error-codes and, where that says nothing of how to go on,
https://docs.stripe.com/error-low-level; looked up on 2026-11-30. A test compares the table with the
codes of the pinned SDK, so that a new one is sorted when the SDK is brought up to date. A code that
is not here (Stripe adds codes without a new version of the API) is judged by its HTTP status, its
parameter and its message: see ``errors.py``.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class Meaning(Enum):
    """Who can do something about an error."""

    #: Nobody has to: load. Wait as told and ask again.
    LOAD = "load"
    #: Nobody has to: a passing fault at Stripe or behind it. Ask again; it is a try without answer.
    NO_ANSWER = "no answer"
    #: A person of ours: the key, the account, its capabilities, its balance.
    ACCOUNT = "account"
    #: The customer: the bank declined, or the payment method cannot be charged. Another may do.
    CARD = "card"
    #: The shop: Stripe does not know the customer whose card is to be charged.
    CUSTOMER = "customer"
    #: The shop: the address for Stripe's receipt.
    RECEIPT = "receipt"
    #: The catalogue: the amount or the currency cannot be charged.
    AMOUNT = "amount"
    #: Nobody: the payment is in another state, or this was done before. Read it.
    STATE = "state"
    #: Nobody: the authorization is gone.
    HOLD_EXPIRED = "hold expired"
    #: The developers: a wrong request, or one for a product that we do not use.
    OUR_BUG = "our bug"


#: Codes by their meaning, with spaces between.
CODES: Final[dict[Meaning, str]] = {
    # "Lock timeouts" and "Rate limits": https://docs.stripe.com/rate-limits
    Meaning.LOAD: """
        idempotency_key_in_use lock_timeout payment_intent_rate_limit_exceeded rate_limit
        token_in_use
    """,
    Meaning.NO_ANSWER: """
        forwarding_api_retryable_upstream_error forwarding_api_upstream_connection_error
        forwarding_api_upstream_connection_timeout forwarding_api_upstream_error
        payment_method_provider_timeout
    """,
    # `balance_insufficient`: of a refund, when our balance at Stripe cannot pay for it.
    # `charge_exceeds_source_limit`: our rolling limit of processing; Stripe raises it on request.
    Meaning.ACCOUNT: """
        account_country_invalid_address account_error_country_change_requires_additional_steps
        account_information_mismatch account_invalid account_token_required_for_v2_account
        action_blocked anomalous_money_movement_request api_key_expired application_fees_not_allowed
        approval_required balance_insufficient capability_not_active charge_exceeds_source_limit
        country_unsupported livemode_mismatch not_allowed_on_standard_account
        platform_account_required platform_api_key_expired progressive_onboarding_limit_exceeded
        request_blocked secret_key_required storer_capability_missing storer_capability_not_active
        testmode_charges_only tls_version_unsupported
    """,
    # The first lines are the bank's or the customer's "no"; from `invalid_source_usage` on, what
    # the customer brought cannot be charged.
    Meaning.CARD: """
        account_closed authentication_failure authentication_required bank_account_declined
        billing_invalid_mandate card_decline_rate_limit_exceeded card_declined
        debit_not_authorized expired_card expired_payment_method incorrect_address
        incorrect_cvc incorrect_number incorrect_postal_code incorrect_zip
        india_recurring_payment_mandate_canceled insufficient_funds invalid_cvc
        invalid_expiry_month invalid_expiry_year invalid_number no_account
        payment_intent_action_required payment_intent_authentication_failure
        payment_intent_konbini_rejected_confirmation_number payment_intent_mandate_invalid
        payment_intent_payment_attempt_expired payment_intent_payment_attempt_failed
        payment_method_customer_decline payment_method_provider_decline postal_code_invalid
        processing_error refer_to_customer three_d_secure_authentication_not_supported
        three_d_secure_authentication_upstream_error
        account_number_invalid bank_account_bad_routing_numbers bank_account_restricted
        bank_account_unusable bank_account_unverified bank_account_verification_failed
        cardholder_phone_number_required invalid_card_type invalid_characters invalid_source_usage
        missing payment_intent_incompatible_payment_method
        payment_method_bank_account_already_verified payment_method_bank_account_blocked
        payment_method_billing_details_address_missing payment_method_currency_mismatch
        payment_method_invalid_parameter payment_method_invalid_parameter_testmode
        payment_method_microdeposit_failed payment_method_microdeposit_processing_error
        payment_method_microdeposit_verification_amounts_invalid
        payment_method_microdeposit_verification_amounts_mismatch
        payment_method_microdeposit_verification_attempts_exceeded
        payment_method_microdeposit_verification_descriptor_code_mismatch
        payment_method_microdeposit_verification_timeout payment_method_not_available
        payment_method_restricted payment_method_unactivated payment_method_unexpected_state
        payment_method_unsupported_type routing_number_invalid sepa_unsupported_account
        token_already_used token_card_network_invalid
    """,
    Meaning.AMOUNT: """
        amount_too_large amount_too_small charge_exceeds_transaction_limit invalid_charge_amount
    """,
    Meaning.STATE: """
        capture_unauthorized_payment charge_already_captured charge_already_refunded charge_disputed
        charge_not_refundable intent_invalid_state payment_intent_unexpected_state
        refund_disputed_payment resource_already_exists return_intent_already_processed
        status_transition_invalid
    """,
    Meaning.HOLD_EXPIRED: """
        capture_charge_authorization_expired charge_expired_for_capture
    """,
    # The first lines are about requests that we make, the rest about products we do not use.
    Meaning.OUR_BUG: """
        charge_invalid_parameter intent_verification_method_missing parameter_invalid_empty
        parameter_invalid_integer parameter_invalid_string_blank parameter_invalid_string_empty
        parameter_missing parameter_unknown parameters_exclusive payment_intent_invalid_parameter
        resource_missing url_invalid

        acss_debit_session_incomplete alipay_upgrade_required amount_details_amount_mismatch
        amount_details_tax_shipping_discount_greater_than_amount balance_invalid_parameter
        bank_account_exists bitcoin_upgrade_required clearing_code_unsupported country_code_invalid
        coupon_expired customer_max_payment_methods customer_max_subscriptions
        customer_session_expired customer_tax_location_invalid dispute_evidence_page_limit_exceeded
        email_invalid failed_tax_calculation financial_account_balance_does_not_support_currency
        financial_account_capability_not_enabled financial_account_capability_restricted
        financial_connections_account_inactive
        financial_connections_account_pending_account_numbers
        financial_connections_account_unavailable_account_numbers
        financial_connections_consent_locale_invalid
        financial_connections_consent_locale_unsupported
        financial_connections_no_successful_transaction_refresh forwarding_api_inactive
        forwarding_api_invalid_parameter instant_payouts_config_disabled
        instant_payouts_currency_disabled instant_payouts_limit_exceeded instant_payouts_unsupported
        invalid_canceled_subscription_fields invalid_mandate_reference_prefix_format
        invalid_tax_location invoice_no_customer_line_items invoice_no_payment_method_types
        invoice_no_subscription_line_items invoice_not_editable invoice_on_behalf_of_not_editable
        invoice_payment_intent_requires_action invoice_upcoming_none out_of_inventory
        ownership_declaration_not_allowed payment_evaluation_on_api_version_not_supported
        payment_method_configuration_failures payment_method_types_no_longer_supported
        payout_reconciliation_not_ready payouts_limit_exceeded payouts_not_allowed product_inactive
        service_period_coupon_with_metered_tiered_item_unsupported setup_attempt_failed
        setup_intent_authentication_failure setup_intent_invalid_parameter
        setup_intent_mandate_invalid setup_intent_mobile_wallet_unsupported
        setup_intent_setup_attempt_expired setup_intent_unexpected_state shipping_address_invalid
        shipping_calculation_failed siret_invalid sku_inactive smart_disputes_not_available
        state_unsupported stripe_tax_inactive subscription_update_trial_after_billing_cycle_anchor
        tax_id_invalid tax_id_prohibited taxes_calculation_failed
        terminal_location_country_unsupported terminal_reader_busy terminal_reader_hardware_fault
        terminal_reader_invalid_location_for_activation
        terminal_reader_invalid_location_for_payment terminal_reader_offline
        terminal_reader_timeout transfer_source_balance_parameters_mismatch transfers_not_allowed
    """,
}

#: Stripe's error codes and what each means.
MEANINGS: Final[dict[str, Meaning]] = {
    code: meaning for meaning, codes in CODES.items() for code in codes.split()
}

#: The value of these parameters is what the customer or the catalogue brought, so a refusal of the
#: value is theirs, whatever its code; a refusal of the parameter itself (``_OUR_REQUEST``) is ours.
_MEANING_OF_PARAMETER: Final = {
    "payment_method": Meaning.CARD,
    "customer": Meaning.CUSTOMER,
    "receipt_email": Meaning.RECEIPT,
    "amount": Meaning.AMOUNT,
    "currency": Meaning.AMOUNT,
}
_OUR_REQUEST: Final = frozenset(["parameter_missing", "parameter_unknown", "parameters_exclusive"])

#: Refusals that Stripe sends without a code of their own, known by their words alone.
_MEANING_OF_WORDS: Final = (
    # "Your account cannot currently make live charges", "This Connect account cannot currently …"
    (
        re.compile(r"\baccount cannot (?:currently )?(?:make|accept|process)\b", re.I),
        Meaning.ACCOUNT,
    ),
    # "The provided PaymentMethod was previously used with a PaymentIntent without Customer
    # attachment […]. It may not be used again." "The payment method […] does not belong to […]"
    (
        re.compile(
            r"payment ?method\b.*(?:may not be used again|does not belong to|was detached from)",
            re.I | re.S,
        ),
        Meaning.CARD,
    ),
)


def meaning_of(code: str | None, param: str | None, message: str) -> Meaning:
    """What a refusal (HTTP 400, 402 or 404) means, by its code, its parameter and its words.

    In this order: a code that says more than "wrong request", the words of the refusals that have
    no code, the parameter that is refused.
    """
    meaning = MEANINGS.get(code or "", Meaning.OUR_BUG)
    if meaning is not Meaning.OUR_BUG or code in _OUR_REQUEST:
        return meaning
    for words, means in _MEANING_OF_WORDS:
        if words.search(message):
            return means
    return _MEANING_OF_PARAMETER.get(param or "", Meaning.OUR_BUG)
