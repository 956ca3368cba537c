"""Durable Orders: start, follow and operate orders that Temporal workflows carry to their end."""
