"""Models exported for other programs, and held to their sources."""
