"""Where facts come from: Wikidata over SPARQL, asked politely, breadth first; items by name."""
