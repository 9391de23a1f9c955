"""The whole pipe in one call, from raw scans to detections, score maps and reports."""
