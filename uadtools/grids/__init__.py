"""Grids: where voxels lie in the world, as headers say it, and from one grid to another (NumPy only)."""
