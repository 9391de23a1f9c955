"""Plain torch modules. They know nothing of files, schedules or methods."""
