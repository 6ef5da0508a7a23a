#!/usr/bin/env python3
"""Real traffic for the demo: a server, and a client that keeps some of its connections open.

traffic.py server ADDRESS...
    Serves on every address until SIGTERM: TCP 80 answers lines, UDP 53 answers datagrams,
    UDP 514 never answers, TCP 21 speaks enough FTP to be told where data is to go.

traffic.py client SERVER4 SERVER6 FIREWALL4 FIREWALL6 CONNECTIONS
    Makes connections in both families and says "ready". Then it obeys signals and answers
    with a line: SIGUSR1 talks on every connection that is open ("alive"), SIGUSR2 asks the
    FTP servers for their data ("transferred"), SIGTERM ends it.

traffic.py visit HOST PORT
    Connects, exchanges a line, disconnects.
"""

import signal
import socket
import socketserver
import sys
import threading

# A packet that does not come within this time does not come at all.
PATIENCE = 10


def say(word):
    print(word, flush=True)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Lines(socketserver.StreamRequestHandler):
    """Answers every line with itself."""

    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"you said: " + line)


class Datagrams(socketserver.BaseRequestHandler):
    """Answers every datagram with itself."""

    def handle(self):
        question, sock = self.request
        sock.sendto(question, self.client_address)


class Silence(socketserver.BaseRequestHandler):
    """Takes datagrams, and never answers."""


class Ftp(socketserver.StreamRequestHandler):
    """FTP in active mode: the client says where it waits, the server connects to it."""

    def handle(self):
        data = None
        self.answer("220 ready")
        for line in self.rfile:
            verb, _, argument = line.decode().strip().partition(" ")
            if verb == "USER":
                self.answer("230 welcome")
            elif verb == "PORT":
                numbers = argument.split(",")
                data = ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
                self.answer("200 noted")
            elif verb == "EPRT":
                _, _, host, port, _ = argument.split("|")
                data = host, int(port)
                self.answer("200 noted")
            elif verb == "LIST" and data:
                self.answer("150 here it comes")
                with socket.create_connection(data, PATIENCE) as connection:
                    connection.sendall(b"report.pdf\r\n")
                    # The client closes first, when it has what it wanted.
                    connection.recv(1)
                self.answer("226 done")
            else:
                self.answer("500 what?")

    def answer(self, text):
        self.wfile.write(text.encode() + b"\r\n")


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class UdpServer(socketserver.UDPServer):
    pass


def serve(addresses):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    kinds = [
        (TcpServer, 80, Lines),
        (TcpServer, 21, Ftp),
        (UdpServer, 53, Datagrams),
        (UdpServer, 514, Silence),
    ]
    for address in addresses:
        for base, port, handler in kinds:
            kind = type("Server", (base,), {"address_family": family_of(address)})
            server = kind((address, port), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
    say("ready")
    signal.sigwait({signal.SIGTERM})


def connect(host, port, kind=socket.SOCK_STREAM):
    sock = socket.socket(family_of(host), kind)
    sock.settimeout(PATIENCE)
    sock.connect((host, port))
    return sock


def exchange(sock, text=b"hello\n"):
    sock.sendall(text)
    if not sock.recv(4096):
        raise ConnectionError("the server closed the connection")


def visit(host, port):
    with connect(host, port) as connection:
        exchange(connection)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


class FtpClient:
    """A control connection that has told the server where the client waits for data."""

    def __init__(self, server):
        self.control = connect(server, 21)
        self.lines = self.control.makefile("rb")
        own = self.control.getsockname()[0]
        self.data = socket.create_server((own, 0), family=family_of(own))
        self.data.settimeout(PATIENCE)
        port = self.data.getsockname()[1]
        if family_of(own) == socket.AF_INET:
            where = "PORT " + ",".join([*own.split("."), str(port >> 8), str(port & 255)])
        else:
            where = f"EPRT |2|{own}|{port}|"
        self.expect("220")
        self.ask("USER anonymous", "230")
        self.ask(where, "200")

    def expect(self, code):
        line = self.lines.readline().decode()
        if not line.startswith(code):
            raise ConnectionError(f"the FTP server said {line!r} instead of {code}")

    def ask(self, line, code):
        self.control.sendall(line.encode() + b"\r\n")
        self.expect(code)

    def transfer(self):
        self.ask("LIST", "150")
        connection, _ = self.data.accept()
        with connection:
            connection.settimeout(PATIENCE)
            if connection.recv(4096) != b"report.pdf\r\n":
                raise ConnectionError("the FTP data is not what was sent")
        self.expect("226")


def play_client(server4, server6, firewall4, firewall6, connections):
    signals = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    kept, transfers = [], []
    for server, firewall in ((server4, firewall4), (server6, firewall6)):
        # Straight to the server, and to the firewall's own port 8080, which is forwarded.
        kept += [connect(server, 80) for _ in range(int(connections))]
        kept.append(connect(firewall, 8080))
        visit(server, 80)
        for _ in range(2):
            question = connect(server, 53, socket.SOCK_DGRAM)
            # One exchange is a question; it takes more to be a stream to conntrack.
            for _ in range(3):
                exchange(question)
            kept.append(question)
        connect(server, 514, socket.SOCK_DGRAM).send(b"nobody answers this")
        transfers.append(FtpClient(server))
    for connection in kept:
        exchange(connection)
    say("ready")
    while True:
        received = signal.sigwait(signals)
        if received == signal.SIGTERM:
            return
        if received == signal.SIGUSR1:
            for connection in kept:
                exchange(connection)
            say("alive")
        else:
            for ftp in transfers:
                ftp.transfer()
            say("transferred")


def main():
    role, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if role == "server" and arguments:
        serve(arguments)
    elif role == "client" and len(arguments) == 5:
        play_client(*arguments)
    elif role == "visit" and len(arguments) == 2:
        visit(arguments[0], int(arguments[1]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
