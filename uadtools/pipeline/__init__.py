"""What each command does, as one Python function; these functions are the Python API."""
