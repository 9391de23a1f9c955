"""What differs from the healed scan, and what of it counts as detected."""
