"""The knowledge graph: from the classes of a dataset to a checked, cached subgraph of Wikidata and its concepts.

Start with a category table and the cache, which opens with the bundled facts and needs no network::

    from kgvad.kg.graph.concepts import category_concepts, explain_path
    from kgvad.kg.store.cache import GraphStore
    from kgvad.kg.tables import load_table

    with GraphStore.open() as store:
        for concept in category_concepts(store, load_table("ucf").category("Robbery")):
            print(concept.text, "-", explain_path(store, concept))

In the order data flows:

``tables``      category tables: the classes of a dataset as data
``properties``  the properties of Wikidata that are read, and what they mean
``sources``     the SPARQL client, fetching of subgraphs, look-up of items by name
``store``       the cache in a database, its migrations, the bundled facts, N-Quads
``graph``       subgraphs, paths and ranked concepts
``rdf``         export and import; ``draw`` and ``stats`` show what is there
"""
