"""Where the API listens, and who may connect.

sockets        unix://, tcp:// and fd://, each judged before anything is opened to others
connections    how many there are at once, and how long one may say nothing
browsers       what a page in a browser could send is refused
"""
