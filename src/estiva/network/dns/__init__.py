"""The name server of containers on networks of their own, at 127.0.0.11.

wire       messages: what a query asks, answers with their bounds; no I/O
names      who is called what, as one container sees it, from the state database
server     the process that answers: containers' sockets, clients over UDP and TCP
allow      which hosts a container may reach, and addresses that none may
allowed    the answers for one that may reach some only
gate       who opens the way there, in its network namespace
stream     one connection of a client
upstream   what is asked of other name servers for them
loop       epoll(7)
adopt      sockets that monitors keep, taken by a resolver that starts
cage       what that process may ask of the kernel
main       how that process begins: its rights go
handover   the monitor's side: sockets in the container's network namespace, handed over and kept
"""
