"""The steps of the pipeline and the search that people use; none imports another."""
