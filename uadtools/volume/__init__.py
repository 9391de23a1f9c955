"""Volumes: reading, writing, streams, grids, slices, clean-up. NumPy and SciPy only."""
