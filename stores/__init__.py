"""The two ends of the pipeline: the objects that are looked at, and the index that is written."""
