"""What does one command do?

One thin file a verb, no arithmetic; each function here is the public Python function of its verb.
"""
