"""Screen 5: looking into the weights of a run."""
