"""Images that are named by a URL, fetched from the open internet and from nowhere else."""
