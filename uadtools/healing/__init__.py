"""A scan becomes the healthy scan that a model believes in."""
