"""What do several verbs do alike?

In: what a verb asks for. Out: photos ready to train, a finished run folder, a loaded classifier.
"""
