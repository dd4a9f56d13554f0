"""Views of a report: Markdown, HTML, JSON, subtitles, CSV."""
