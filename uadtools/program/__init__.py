"""What makes a program of a function: its options, its help, what goes wrong as one line. Heavy imports happen late."""
