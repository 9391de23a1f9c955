"""The commands: options, help, and one call into the room of their part of the pipe. Heavy imports happen late."""
