//! An expectation in the format `save`: the options of `conntrack -I expect`, and in a
//! comment before them what those cannot carry. `ctctl expect create --file` takes it back.
//! conntrack(8) does not: its -R takes no expectations, and the -I of 1.4.7 sends the
//! expected tuple with another protocol than it was told.

use super::emit;
use super::json_entry;
use super::save::{comment, fitting, option, protocol};
use crate::flow::{Expectation, L4, Tuple};

/// Writes the comment and the line.
pub(super) fn write(out: &mut Vec<u8>, expectation: &Expectation) {
    let line = Line::of(expectation);
    comment(out, |object| {
        for (key, carried, tuple) in [
            ("tuple", line.tuple, expectation.tuple),
            ("mask", line.mask, expectation.mask),
            ("master", line.master, expectation.master),
        ] {
            if carried != tuple {
                object.object(key, |o| json_entry::tuple(o, &tuple, None));
            }
        }
        if expectation.zone != 0 {
            object.number("zone", expectation.zone);
        }
        if expectation.timeout.is_none() {
            object.null("timeout");
        }
        object.number_if("id", expectation.id);
        json_entry::expectation_beyond_the_line(object, expectation);
    });
    line.write(out, expectation);
}

/// What the line carries: three tuples of one protocol.
struct Line {
    tuple: Tuple,
    mask: Tuple,
    master: Tuple,
}

impl Line {
    fn of(expectation: &Expectation) -> Self {
        let protocol = expectation.tuple.protocol;
        let carried = |tuple: &Tuple| {
            let mut carried = fitting(&Tuple { protocol, ..*tuple });
            if let L4::Icmp { kind, code, id } = &mut carried.l4 {
                // There are no options for them.
                (*kind, *code, *id) = (0, 0, 0);
            }
            carried
        };
        Self {
            tuple: carried(&expectation.tuple),
            mask: carried(&expectation.mask),
            master: carried(&expectation.master),
        }
    }

    fn write(&self, out: &mut Vec<u8>, expectation: &Expectation) {
        out.extend_from_slice(b"-I expect -t ");
        emit::number(out, expectation.timeout.unwrap_or(0));
        for (name, address) in [
            (&b" --tuple-src "[..], self.tuple.src),
            (b" --tuple-dst ", self.tuple.dst),
            (b" --mask-src ", self.mask.src),
            (b" --mask-dst ", self.mask.dst),
            (b" -s ", self.master.src),
            (b" -d ", self.master.dst),
        ] {
            out.extend_from_slice(name);
            emit::address(out, address);
        }
        protocol(out, self.tuple.protocol);
        for (names, l4) in [
            (
                [
                    &b" --tuple-port-src "[..],
                    b" --tuple-port-dst ",
                    b" --tuple-key-src ",
                    b" --tuple-key-dst ",
                ],
                self.tuple.l4,
            ),
            (
                [
                    b" --mask-port-src ",
                    b" --mask-port-dst ",
                    b" --mask-key-src ",
                    b" --mask-key-dst ",
                ],
                self.mask.l4,
            ),
            (
                [b" --sport ", b" --dport ", b" --srckey ", b" --dstkey "],
                self.master.l4,
            ),
        ] {
            match l4 {
                L4::Ports { src, dst } => {
                    option(out, names[0], src);
                    option(out, names[1], dst);
                }
                L4::Gre { src, dst } => {
                    option(out, names[2], src);
                    option(out, names[3], dst);
                }
                L4::None | L4::Icmp { .. } => {}
            }
        }
        out.push(b'\n');
    }
}
