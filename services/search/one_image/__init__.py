"""One image: its original, a thumbnail, why it is found or not, and another look at it."""
