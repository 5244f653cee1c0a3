"""What the workbench knows: no widget and no Textual in here, and all of it outlives the screens that show it."""
