"""The inbox: people review reports in a browser, mark events, and train on their marks (``kgvad serve``)."""
