"""What restoration learns to mend: healthy scans in another domain, with anomalies drawn into them."""
