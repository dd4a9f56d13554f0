"""The knowledge graph: from class names to a checked, cached subgraph of Wikidata and its concepts.

In the order data flows: ``tables`` (classes as data), ``properties`` (what is read, and how),
``service`` and ``wikidata`` (asking), ``fetch`` (breadth first), ``schema``, ``database`` and ``store``
(the cache), ``bundled`` (facts that come along), ``network`` (walking), ``graph`` (concepts and paths),
``nquads`` and ``rdf`` (files), ``draw``, ``stats``, ``resolve``.
"""
