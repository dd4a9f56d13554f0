"""Key frames and clips."""
