"""What people look at: pictures and plots."""
