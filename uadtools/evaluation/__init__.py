"""How good scores and detections are, by the truth."""
