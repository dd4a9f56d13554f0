"""Walking the graph, and the concepts of a category."""
