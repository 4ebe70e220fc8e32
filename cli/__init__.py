"""The command line and the composition: which stages, which transport, which stores."""
