"""What a run will need, before it starts: forecast, or measured on a few real steps."""
