"""What was judged to points in the index."""
