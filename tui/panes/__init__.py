"""The panes of the training screen, one file each."""
