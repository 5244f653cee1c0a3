"""From logits to text: sampling rules, streaming decode with a key/value cache, beams, chat.

Import what you need from its modules; `settings` and `overlap` do not load torch.
"""
