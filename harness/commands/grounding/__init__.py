"""What the commands about grounding are made of."""
