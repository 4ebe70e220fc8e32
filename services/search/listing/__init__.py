"""What is indexed, without a question: lists, counts, files to take away."""
