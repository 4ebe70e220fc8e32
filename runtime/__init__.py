"""How any stage runs: stage, worker, transports, retry, dead letters, lifecycle, probes, metrics, log, settings."""
