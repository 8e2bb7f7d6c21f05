/* Answers each connection to the port that it is told with the same page. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words)
{
    static const char page[] = "HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\n<h1>c</h1>\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 8080)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    char request[4096];

    signal(SIGTERM, _exit);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 16))
        return 1;
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (read(peer, request, sizeof request) > 0 && write(peer, page, sizeof page - 1) < 0)
            return 1;
        close(peer);
    }
}
