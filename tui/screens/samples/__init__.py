"""Screen 3: what a run wrote along its checkpoints."""
