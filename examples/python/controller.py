"""Watches several agents and cuts every flow of the blocked networks, those that are there
and those that come. See README.md beside it for how to make the stubs."""

import argparse
import ipaddress
import sys
import threading

import grpc

from ctfleet.v1 import change_pb2, filter_pb2, flow_pb2, flow_service_pb2, watch_pb2
from ctfleet.v1.flow_service_pb2_grpc import FlowServiceStub


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="unix:PATH or HOST:PORT")
    parser.add_argument("--block", action="append", required=True, metavar="NETWORK",
                        type=ipaddress.ip_network)
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate, for HOST:PORT")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--tls-ca", metavar="FILE", help="authority of the agents' certificates")
    return parser.parse_args()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def connect(target, arguments):
    if not arguments.tls_ca:
        # Of a socket's path grpcio would make an authority that HTTP/2 does not allow.
        return grpc.insecure_channel(target, [("grpc.default_authority", "localhost")])
    credentials = grpc.ssl_channel_credentials(
        read(arguments.tls_ca), read(arguments.tls_key), read(arguments.tls_cert))
    return grpc.secure_channel(target, credentials)


def any_address_in(networks):
    """The filter: one of the four addresses lies in one of the networks."""
    return filter_pb2.Filter(address=filter_pb2.AddressPredicate(
        field=filter_pb2.ADDRESS_FIELD_ANY,
        networks=[
            filter_pb2.Network(
                address=network.network_address.packed, prefix_length=network.prefixlen)
            for network in networks
        ]))


def describe(flow):
    source, destination = (ipaddress.ip_address(a) for a in (flow.orig.src, flow.orig.dst))
    return f"protocol {flow.orig.protocol} {source} -> {destination}"


class Guard(threading.Thread):
    """Cuts what matches on one agent until its watch ends."""

    def __init__(self, target, channel, networks):
        super().__init__(daemon=True)
        self.target = target
        self.flows = FlowServiceStub(channel)
        self.networks = networks

    def say(self, text):
        # In one piece: print() writes the end of the line by itself, and there are other threads.
        sys.stdout.write(f"{self.target}: {text}\n")
        sys.stdout.flush()

    def run(self):
        request = flow_service_pb2.WatchFlowsRequest(
            filter=any_address_in(self.networks),
            event_types=[watch_pb2.EVENT_TYPE_NEW],
            # What is there already comes first, and once more when events were lost.
            snapshot=True,
            resync_after_gap=True)
        try:
            for message in self.flows.WatchFlows(request):
                self.hear(message)
        except grpc.RpcError as error:
            self.say(f"{error.code().name}: {error.details()}")

    def hear(self, message):
        kind = message.WhichOneof("message")
        if kind == "subscribed":
            self.say("watching")
        elif kind == "snapshot":
            self.cut(message.snapshot.flows)
        elif kind == "events":
            self.cut([event.flow for event in message.events.events])
        elif kind == "gap":
            self.say(f"{message.gap.lost} events were lost")

    def cut(self, flows):
        """Deletes these very flows: the key has the tuple, the zone and the id."""
        if not flows:
            return
        keys = [
            flow_pb2.FlowKey(
                tuple=flow.orig,
                direction=flow_pb2.DIRECTION_ORIG,
                zone=flow.zone,
                zone_direction=flow.zone_direction,
                id=flow.id)
            for flow in flows
        ]
        answer = self.flows.DeleteFlows(flow_service_pb2.DeleteFlowsRequest(
            keys=flow_service_pb2.FlowKeys(keys=keys),
            options=change_pb2.ChangeOptions()))
        for flow in flows:
            self.say(f"cut {describe(flow)}")
        for failure in answer.summary.failures:
            self.say(f"failed: {failure.message}")


def main():
    arguments = parse_arguments()
    guards = [
        Guard(target, connect(target, arguments), arguments.block)
        for target in arguments.targets
    ]
    for guard in guards:
        guard.start()
    for guard in guards:
        guard.join()
    # Each one said why it ended.
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
