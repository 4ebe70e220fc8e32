"""ImageEvent to ImageEmbedded, ImageGone or ImageRejected."""
