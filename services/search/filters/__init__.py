"""Conditions on images, as parameters of an address and as JSON."""
