"""Traversal of the graph: subgraphs, paths and the ranked concepts of a category."""
