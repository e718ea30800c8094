"""Many finished runs side by side."""
