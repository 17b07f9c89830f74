"""CLIP-ReID: prompts that describe each identity, then the image encoder."""
