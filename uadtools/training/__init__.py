"""Training: recipes, data, augmentation, the loop, and its resumable state."""
