"""From anomaly scores to a report that says when, what and why, and to views of it.

``scorers``    where the scores come from
``analysis``   events, categories, evidence and severity
``report``     the report as data
``media``      key frames and clips
``rendering``  the report as HTML, Markdown, PDF, CSV or subtitles
``narration``  the report told by a language model; ``claims`` checks what it, or any text, says
``quality``    how faithful and how robust explanations are
``explainer``  all of this for one video; ``batch`` for a folder
"""
