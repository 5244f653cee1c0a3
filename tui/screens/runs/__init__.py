"""Screen 4: all runs."""
