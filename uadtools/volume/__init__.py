"""Volumes: reading, writing, streams, grids, intensities, brains, slices, clean-up. NumPy and SciPy only."""
