"""Raw scans are made into what a model expects."""
