"""A world of registries inside a host's network namespace: every name of HOSTS leads, over TLS, to one registry.

The names are reached through a proxy (CONNECT), which the environment names; the certificate is of an authority that
ESTIVA_REGISTRY_CA names. So commands of a page run as they stand there, and nothing leaves the namespace.
"""

import subprocess
import sys

HOSTS = ("registry-1.docker.io", "registry.example.org", "mirror.example.org", "cache.example.org")
PROXY = """
import select, socket, threading

def pump(a, b):
    while data := a.recv(1 << 16):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)

def serve(client):
    asked = b""
    while b"\\r\\n\\r\\n" not in asked:
        data = client.recv(1 << 16)
        if not data:
            return
        asked += data
    assert asked.startswith(b"CONNECT "), asked
    client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    target = socket.create_connection(("127.0.0.1", 5443))
    threading.Thread(target=pump, args=(target, client), daemon=True).start()
    pump(client, target)

server = socket.create_server(("127.0.0.1", 3128))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


class Hub:
    """See above. `host` is an enginekit.Host, whose environment leads to the hub from now on."""

    def __init__(self, host):
        self.host = host
        names = ",".join(f"DNS:{name}" for name in HOSTS)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hub", "-keyout", "hub.key",
             "-out", "hub.pem", "-addext", f"subjectAltName={names}"],
            cwd=host.folder, check=True, capture_output=True,
        )  # fmt: skip
        self.proxy = subprocess.Popen(
            [*host.prefix, sys.executable, "-c", PROXY], stdout=subprocess.PIPE, text=True, cwd=host.folder
        )
        assert self.proxy.stdout.readline() == "ready\n"
        self.server = host.start(
            "registry", "serve", "--listen", "127.0.0.1:5443", "--root", f"{host.folder}/hub", "--tls-cert", "hub.pem",
            "--tls-key", "hub.key", stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.server.stdout.readline().startswith("serving ")
        host.env |= {
            "https_proxy": "http://127.0.0.1:3128",
            "ESTIVA_REGISTRY_CA": f"{host.folder}/hub.pem",
            "XDG_CONFIG_HOME": f"{host.folder}/config",
        }

    def close(self):
        self.proxy.kill()
        self.proxy.wait()
        self.proxy.stdout.close()
        self.server.terminate()
        self.server.wait(120)
        self.server.stdout.close()
