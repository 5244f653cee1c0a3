"""Screen 1: a run in training, or one that ended."""
