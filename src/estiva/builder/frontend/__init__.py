"""From a Dockerfile's text to typed instructions and stages. Nothing here touches a container or the
store.
"""
