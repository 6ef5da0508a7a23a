//! A change of a flow in the manner of `conntrack -E -o save` and `conntrack -D -o save`:
//! `-U` and `-D` with the options that name the flow, as conntrack(8) 1.4.7 writes them, and
//! the mark, which it leaves out. What the kernel did not report is not written: an update
//! would set it.

use std::net::IpAddr;

use super::emit;
use super::save::{Verb, option, protocol, state, status_words, vtag, zone};
use crate::flow::{DccpState, Flow, L4, ProtoInfo, Protocol, SctpState, Status, TcpState};

/// Writes the line, without its end.
pub(super) fn write(out: &mut Vec<u8>, verb: Verb, flow: &Flow) {
    out.extend_from_slice(match verb {
        Verb::Add => b"-A",
        Verb::Update => b"-U",
        Verb::Delete => b"-D",
    });
    if let Some(timeout) = flow.timeout {
        option(out, b" -t ", timeout);
    }
    if let Some(status) = flow.status {
        status_words(out, status);
    }
    // To a deletion it would be one more condition.
    if let (Some(mark), Verb::Update) = (flow.mark, verb) {
        option(out, b" -m ", mark);
    }
    zone(out, flow.zone);
    addresses(out, flow);
    protocol(out, flow.orig.protocol);
    l4(out, flow);
    protoinfo(out, flow.protoinfo.as_ref());
}

/// An address that is translated stands behind the option of its translation.
fn addresses(out: &mut Vec<u8>, flow: &Flow) {
    let done = |bit| flow.status.is_none_or(|status| status.contains(bit));
    let dnat = done(Status::DST_NAT_DONE) && flow.reply.src != flow.orig.dst;
    let snat = done(Status::SRC_NAT_DONE) && flow.reply.dst != flow.orig.src;
    let (source, destination): (&[u8], &[u8]) = (
        if dnat { b" -g " } else { b" -r " },
        if snat { b" -n " } else { b" -q " },
    );
    address(out, b" -s ", flow.orig.src);
    address(out, b" -d ", flow.orig.dst);
    address(out, source, flow.reply.src);
    address(out, destination, flow.reply.dst);
}

fn address(out: &mut Vec<u8>, name: &[u8], address: IpAddr) {
    out.extend_from_slice(name);
    emit::address(out, address);
}

fn l4(out: &mut Vec<u8>, flow: &Flow) {
    match flow.orig.l4 {
        L4::Ports { src, dst } => {
            option(out, b" --sport ", src);
            option(out, b" --dport ", dst);
        }
        L4::Gre { src, dst } => {
            option(out, b" --srckey ", src);
            option(out, b" --dstkey ", dst);
        }
        L4::Icmp { kind, code, id } => {
            let v6 = flow.orig.protocol == Protocol::ICMPV6;
            let name: &[u8] = if v6 { b" --icmpv6-" } else { b" --icmp-" };
            for (field, n) in [
                (&b"type "[..], kind.into()),
                (b"code ", code.into()),
                (b"id ", id),
            ] {
                out.extend_from_slice(name);
                option(out, field, n);
            }
        }
        L4::None => {}
    }
    match flow.reply.l4 {
        L4::Ports { src, dst } => {
            option(out, b" --reply-port-src ", src);
            option(out, b" --reply-port-dst ", dst);
        }
        L4::Gre { src, dst } => {
            option(out, b" --reply-key-src ", src);
            option(out, b" --reply-key-dst ", dst);
        }
        L4::Icmp { .. } | L4::None => {}
    }
}

fn protoinfo(out: &mut Vec<u8>, info: Option<&ProtoInfo>) {
    match info {
        Some(ProtoInfo::Tcp(tcp)) => {
            if let Some(number) = tcp.state {
                state(out, TcpState::name(number));
            }
        }
        Some(ProtoInfo::Sctp(sctp)) => {
            if let Some(number) = sctp.state {
                state(out, SctpState::name(number));
            }
            if let Some(tag) = sctp.vtag_orig {
                option(out, b" --orig-vtag ", vtag(tag));
            }
            if let Some(tag) = sctp.vtag_reply {
                option(out, b" --reply-vtag ", vtag(tag));
            }
        }
        Some(ProtoInfo::Dccp(dccp)) => {
            if let Some(number) = dccp.state {
                state(out, DccpState::name(number));
            }
            match dccp.role {
                Some(0) => out.extend_from_slice(b" --role client"),
                Some(1) => out.extend_from_slice(b" --role server"),
                _ => {}
            }
        }
        None => {}
    }
}
