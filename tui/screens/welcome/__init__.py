"""The first start: no run yet."""
