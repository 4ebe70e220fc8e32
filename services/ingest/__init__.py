"""Notification, listing or file system event to ImageEvent."""
