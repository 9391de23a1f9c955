"""Many scans, one after another or at once."""
