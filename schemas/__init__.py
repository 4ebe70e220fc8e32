"""Contracts between processes: events, topics, headers, dead letters, the collection, and the codec that carries them.

This package stands on the ground: it imports nothing else of the project, so any process of any
release can read what another one wrote.
"""
