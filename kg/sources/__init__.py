"""Sources of facts: a polite SPARQL client for Wikidata, breadth-first fetching, and look-up of items by name."""
