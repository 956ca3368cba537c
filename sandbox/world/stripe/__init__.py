"""The part of Stripe's API that card payments need, with test cards only."""
