"""The part of Stripe's API that a shop taking card payments uses, on test cards only."""
