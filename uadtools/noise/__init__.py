"""Noise that is a function of a seed per slice: the same slice gets the same noise in any batch."""
