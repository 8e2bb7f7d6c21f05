"""Images from a Dockerfile and a build context.

    text -> frontend: parser -> instructions -> stages
         -> solver: stage by stage, instruction by instruction
         -> steps: config | workdir | copy | run, each a layer from the cache or a new one
         -> image

The engine passes in the store, how to run a step in a container, and how to find a base image.
"""
