"""The commands: options, help, and one call into pipeline/ each. Heavy imports happen inside their bodies."""
