"""What a method is to the rest of the house: options, what healing gives back, recipes, losses, and how to read it."""
