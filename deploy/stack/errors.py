"""What can go wrong, in one sentence for the person who typed the command."""


class StackError(Exception):
    """A server that cannot be had; the message names what is missing and what to do."""


class MissingTool(StackError):
    """A program that must be installed by the person."""
