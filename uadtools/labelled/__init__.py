"""Methods that learn from labels, one file each: masks of lesions, or which scans are sick."""
