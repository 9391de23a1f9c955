"""A finished comparison as it is published: page, plots, prose."""
