"""Anchors: one vector per category, pooled from its concepts in the knowledge graph, and the file that holds them.

Start with :func:`kgvad.anchors.build.build_bank`, which does the steps below, or ``kgvad build-anchors``::

    from kgvad.anchors.build import build_bank
    from kgvad.anchors.text_encoders import load_text_encoder
    from kgvad.kg.store.cache import GraphStore
    from kgvad.kg.tables import load_table

    with GraphStore.open() as graph:
        bank = build_bank(load_table("ucf"), graph, load_text_encoder("minilm"))
    bank.save("ucf.safetensors")

In the order data flows:

``prompts``                concepts as sentences
``text_encoders``          sentences as vectors: by name, from a model folder, or from another package
``transformers_encoder``   the encoders of the Transformers library
``vector_cache``           vectors between runs
``contrastive_selection``  concepts that separate confused categories
``pooling``                the concepts of a category as one anchor
``build``                  an anchor bank from all of these; new categories without training
``bank``                   the anchor bank and its file
``describe``, ``plot``     a bank as text, CSV or figure
``learnable_prompts``      anchors that are trained with a detector
"""
