//! An expectation from the options of `conntrack -I expect`.

use std::net::IpAddr;

use super::error::LineError;
use super::line::{Line, l4, missing};
use super::options::Opt;
use crate::flow::{Expectation, L4, Protocol, Tuple};

/// The options of one of the three tuples: addresses, ports, keys.
struct Names {
    addresses: [(Opt, &'static str); 2],
    ports: [(Opt, &'static str); 2],
    keys: [(Opt, &'static str); 2],
}

const TUPLE: Names = Names {
    addresses: [
        (Opt::TupleSrc, "--tuple-src"),
        (Opt::TupleDst, "--tuple-dst"),
    ],
    ports: [
        (Opt::TuplePortSrc, "--tuple-port-src"),
        (Opt::TuplePortDst, "--tuple-port-dst"),
    ],
    keys: [
        (Opt::TupleKeySrc, "--tuple-key-src"),
        (Opt::TupleKeyDst, "--tuple-key-dst"),
    ],
};

const MASK: Names = Names {
    addresses: [(Opt::MaskSrc, "--mask-src"), (Opt::MaskDst, "--mask-dst")],
    ports: [
        (Opt::MaskPortSrc, "--mask-port-src"),
        (Opt::MaskPortDst, "--mask-port-dst"),
    ],
    keys: [
        (Opt::MaskKeySrc, "--mask-key-src"),
        (Opt::MaskKeyDst, "--mask-key-dst"),
    ],
};

const MASTER: Names = Names {
    addresses: [(Opt::Src, "-s"), (Opt::Dst, "-d")],
    ports: [(Opt::OrigPortSrc, "--sport"), (Opt::OrigPortDst, "--dport")],
    keys: [(Opt::OrigKeySrc, "--srckey"), (Opt::OrigKeyDst, "--dstkey")],
};

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Expectation, LineError> {
    let line = Line::split(line, "expect")?;
    let protocol = line.protocol()?;
    let expectation = Expectation {
        id: None,
        tuple: tuple(&line, protocol, &TUPLE)?,
        mask: tuple(&line, protocol, &MASK)?,
        master: tuple(&line, protocol, &MASTER)?,
        zone: line.u16(Opt::Zone)?.unwrap_or(0),
        timeout: Some(line.u32(Opt::Timeout)?.ok_or_else(|| missing("-t"))?),
        flags: None,
        class: None,
        helper: None,
        function: None,
        nat: None,
    };
    line.finish(&[&expectation.tuple, &expectation.mask, &expectation.master])?;
    Ok(expectation)
}

/// A tuple. Ports that are left out are 0, so that in a mask they do not count.
fn tuple(line: &Line<'_>, protocol: Protocol, names: &Names) -> Result<Tuple, LineError> {
    let address = |(option, name): (Opt, &'static str)| -> Result<IpAddr, LineError> {
        line.address(option)?.ok_or_else(|| missing(name))
    };
    let [src, dst] = names.addresses;
    let (src, dst) = (address(src)?, address(dst)?);
    let ends = match l4(protocol, (0, 0)) {
        L4::Ports { .. } => line.ends(names.ports[0], names.ports[1])?,
        L4::Gre { .. } => line.ends(names.keys[0], names.keys[1])?,
        L4::None | L4::Icmp { .. } => None,
    };
    let l4 = if protocol.is_icmp() {
        L4::Icmp {
            kind: 0,
            code: 0,
            id: 0,
        }
    } else {
        l4(protocol, ends.unwrap_or((0, 0)))
    };
    Ok(Tuple {
        src,
        dst,
        protocol,
        l4,
    })
}
