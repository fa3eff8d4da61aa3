"""Gateways to Python interpreters elsewhere, and channels over them."""
