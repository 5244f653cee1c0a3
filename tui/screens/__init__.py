"""The screens of the workbench, one file each, its style sheet beside it."""
