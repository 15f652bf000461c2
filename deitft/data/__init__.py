"""Which photos are there, and what does the model see of them?

In: a folder. Out: a ``Catalog``, ``Findings``, ``Splits``, and batches as a pure function of (seed, step).
"""
