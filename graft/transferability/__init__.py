"""How well a source's features fit the target's labels, before anything is fine-tuned."""
