"""What lies over a screen for a moment: questions, choices, help."""
