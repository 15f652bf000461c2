"""How good is it, and how sure are we?

In: a classifier and photos. Out: ``Predictions``, metrics, intervals.
"""
