"""Images from a Dockerfile and a build context.

    text -> parser -> instructions -> plan -> executor -> copying | running | state -> image
                                                 ^  cache

The engine passes in the store, how to run a step in a container, and how to find a base image.
"""
