"""What is like what was asked for: examples, scores and their meaning, near-duplicates, pages."""
