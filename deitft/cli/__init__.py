"""What was typed, what is read?

In: words on a command line. Out: calls of ``deitft.jobs``, a terminal that is never silent, exit codes.
"""
