"""The official SDK beside this library."""
