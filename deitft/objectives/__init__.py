"""What number is pushed down?

In: ``Heads`` and targets. Out: named losses, each a mean over images.
"""
