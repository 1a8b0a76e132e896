"""Fine-tuning by a method, in every cell."""
