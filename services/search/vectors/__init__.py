"""Bare vectors of texts and images, for those who keep them elsewhere."""
