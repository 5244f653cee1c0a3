"""What is seen: a folder a screen, and the dialogues that lie over them."""
