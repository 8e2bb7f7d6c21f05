"""What may be done to a container that exists: the operations of the runtime specification, checkpoint,
restore.
"""
