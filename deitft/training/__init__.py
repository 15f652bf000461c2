"""How does the state move one step, and survive a kill?

In: a ``Plan``, a stream, an objective. Out: a ``TrainState`` further on, checkpoints, rows of a log.
"""
