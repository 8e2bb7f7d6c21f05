"""The kernel boundary of networks: rtnetlink and nfnetlink messages over sockets of their own."""
