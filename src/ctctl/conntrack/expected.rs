//! One expectation of a line: a new one, and the key of one that is there.

use super::error::LineError;
use super::line::Line;
use super::protocol::Part;
use crate::flow::{Expectation, ExpectationKey, L4, Protocol, Tuple};

/// The kernel's answer to an expectation without all its ends.
const INVALID: LineError = LineError::Kernel("invalid parameters");

impl Line {
    /// The expectation that `-I expect` describes. Its helper is that of the connection which
    /// expects it.
    pub fn expectation(&self) -> Result<Expectation, LineError> {
        let protocol = self.protocol.unwrap_or_default();
        let ends = |src: Option<_>, dst: Option<_>| src.zip(dst).ok_or(INVALID);
        let tuple = self.expected(
            protocol,
            ends(self.tuple_src, self.tuple_dst)?,
            (Part::TupleSrc, Part::TupleDst),
        )?;
        let mask = self.expected(
            protocol,
            ends(self.mask_src, self.mask_dst)?,
            (Part::MaskSrc, Part::MaskDst),
        )?;
        let master = self.expected(protocol, ends(self.src, self.dst)?, (Part::Src, Part::Dst))?;
        Ok(Expectation {
            id: None,
            tuple,
            mask,
            master,
            zone: 0,
            timeout: self.timeout,
            flags: None,
            class: None,
            helper: None,
            function: None,
            nat: None,
        })
    }

    /// The expectation that `-G expect` and `-D expect` name by its own tuple.
    pub fn expectation_key(&self) -> Result<ExpectationKey, LineError> {
        let protocol = self.protocol.unwrap_or_default();
        let ends = self.src.zip(self.dst).ok_or(INVALID)?;
        Ok(ExpectationKey {
            tuple: self.expected(protocol, ends, (Part::Src, Part::Dst))?,
            zone: 0,
            id: None,
        })
    }

    /// ICMP has no options here.
    fn expected(
        &self,
        protocol: Protocol,
        ends: (std::net::IpAddr, std::net::IpAddr),
        parts: (Part, Part),
    ) -> Result<Tuple, LineError> {
        if protocol.is_icmp() {
            let (src, dst) = ends;
            return Ok(Tuple {
                src,
                dst,
                protocol,
                l4: L4::Icmp {
                    kind: 0,
                    code: 0,
                    id: 0,
                },
            });
        }
        self.tuple(protocol, ends, parts)
    }
}
