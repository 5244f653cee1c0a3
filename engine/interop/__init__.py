"""Ways in and out: Hugging Face models and PEFT adapters."""
