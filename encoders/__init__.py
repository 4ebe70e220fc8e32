"""Models behind one protocol. torch and open_clip live here only."""
