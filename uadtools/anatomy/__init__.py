"""What a scan shows: where its brain is, its intensities and contrast, what it is like, how it lies (NumPy only)."""
