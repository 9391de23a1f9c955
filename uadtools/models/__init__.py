"""The model file: what is in it (config), how it is read and written (checkpoint), how it is asked (model)."""
