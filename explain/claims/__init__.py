"""Check what a text claims about a video against captions and a report."""
