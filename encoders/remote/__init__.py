"""Models that run elsewhere, asked over HTTP: Hugging Face, Replicate, or a server of one's own."""
