"""Tags of photos on the service's own disk."""
