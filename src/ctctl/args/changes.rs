//! What becomes of flows: the flags of `ctctl update`, and those of `ctctl create` that say
//! the same.

use clap::Args;

use super::values::{
    LabelBits, LabelSet, MarkMask, Pair, StateName, StatusBits, ValueError, number32,
};
use crate::flow::{
    DccpInfo, FlowChanges, HelperName, Labels, Masked, ProtoInfo, Protocol, SctpInfo, SeqAdj,
    Status, Synproxy, TcpFlags, TcpInfo,
};

/// What changes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Changes")]
pub struct ChangeArgs {
    /// New mark; with a mask, of those bits alone
    #[arg(long, value_name = "MARK[/MASK]")]
    pub set_mark: Option<MarkMask>,
    /// Expire so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    pub set_timeout: Option<u32>,
    /// Status bits to set: ASSURED, SEEN_REPLY, FIXED_TIMEOUT
    #[arg(long, value_name = "STATUS")]
    pub set_status: Option<StatusBits>,
    /// Labels to set, by number or name: 1,7
    #[arg(long, value_name = "LABELS", visible_alias = "label-add")]
    pub set_label: Option<LabelSet>,
    /// Labels to clear
    #[arg(long, value_name = "LABELS", visible_alias = "label-del")]
    pub clear_label: Option<LabelSet>,
    /// All labels at once, in hexadecimal; with a mask, those bits alone
    #[arg(long, value_name = "BITS[/MASK]", conflicts_with_all = ["set_label", "clear_label"])]
    pub set_labels: Option<LabelBits>,
    /// State of TCP, or of the protocol in --proto
    #[arg(long, value_name = "STATE")]
    pub set_state: Option<StateName>,
    /// Helper's name; the kernel refuses to add one to a flow without
    #[arg(long, value_name = "NAME")]
    pub set_helper: Option<HelperName>,
    /// TCP flags of both directions: 0x08/0x08 accepts packets out of window
    #[arg(long, value_name = "FLAGS[/MASK]")]
    pub set_tcp_flags: Option<MarkMask>,
    /// TCP window scales, original:reply
    #[arg(long, value_name = "ORIG:REPLY")]
    pub set_window_scale: Option<Pair>,
    /// SCTP verification tags, original:reply
    #[arg(long, value_name = "ORIG:REPLY", conflicts_with_all = ["set_tcp_flags", "set_window_scale"])]
    pub set_vtags: Option<Pair>,
    /// Sequence adjustment of the original direction
    #[arg(long, value_name = "POS:BEFORE:AFTER", value_parser = seqadj, allow_hyphen_values = true)]
    pub set_seqadj_orig: Option<SeqAdj>,
    /// Sequence adjustment of the reply direction
    #[arg(long, value_name = "POS:BEFORE:AFTER", value_parser = seqadj, allow_hyphen_values = true)]
    pub set_seqadj_reply: Option<SeqAdj>,
    /// SYNPROXY state
    #[arg(long, value_name = "ISN:ITS:TSOFF", value_parser = synproxy)]
    pub set_synproxy: Option<Synproxy>,
}

/// Changes that no flow can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A bit that would have to be cleared.
    #[error("status bits can be set, never cleared: UNREPLIED is the absence of SEEN_REPLY")]
    ClearStatus,
    /// A label both ways.
    #[error("label {0} cannot be set and cleared at once")]
    BothWays(u8),
    /// A window scale that TCP does not have.
    #[error("a TCP window scale is a number from 0 to 14, not {0}")]
    WindowScale(u32),
    /// Flags of more than a byte.
    #[error("TCP flags are one byte: 0x{0:x} is too much")]
    TcpFlags(u32),
    /// A state that the protocol does not have.
    #[error("{0} has no such state")]
    NoState(Protocol),
    /// The kernel takes the three together.
    #[error("the state of SCTP is set together with its verification tags: ORIG:REPLY")]
    SctpTogether,
    /// A part of another protocol.
    #[error("{flag} does not go with protocol {protocol}")]
    Stray {
        /// The flag.
        flag: &'static str,
        /// The protocol.
        protocol: Protocol,
    },
}

impl ChangeArgs {
    /// The changes, if they make sense together, for flows of a protocol if that is known.
    pub fn changes(&self, protocol: Option<Protocol>) -> Result<FlowChanges, ChangeError> {
        Ok(FlowChanges {
            mark: self.set_mark.map(|MarkMask(mark)| mark),
            timeout: self.set_timeout,
            status_set: self.status()?,
            labels: self.labels()?,
            protoinfo: self.protoinfo(protocol)?,
            helper: self.set_helper,
            seqadj_orig: self.set_seqadj_orig,
            seqadj_reply: self.set_seqadj_reply,
            synproxy: self.set_synproxy,
        })
    }

    fn status(&self) -> Result<Option<Status>, ChangeError> {
        match self.set_status {
            Some(bits) if bits.clear.0 != 0 => Err(ChangeError::ClearStatus),
            bits => Ok(bits.map(|bits| bits.set)),
        }
    }

    fn labels(&self) -> Result<Option<Masked<Labels>>, ChangeError> {
        if let Some(LabelBits(bits)) = self.set_labels {
            return Ok(Some(bits));
        }
        let set = self.set_label.map_or(0, |LabelSet(labels)| labels.0);
        let clear = self.clear_label.map_or(0, |LabelSet(labels)| labels.0);
        if let Some(both) = Labels(set & clear).iter().next() {
            return Err(ChangeError::BothWays(both));
        }
        let mask = set | clear;
        Ok((mask != 0).then_some(Masked {
            value: Labels(set),
            mask: Labels(mask),
        }))
    }

    fn protoinfo(&self, protocol: Option<Protocol>) -> Result<Option<ProtoInfo>, ChangeError> {
        let scales = self.set_window_scale.map(scales).transpose()?;
        let flags = self.set_tcp_flags.map(tcp_flags).transpose()?;
        let for_tcp = scales.is_some() || flags.is_some();
        let protocol = match (protocol, self.set_vtags, self.set_state) {
            (Some(protocol), ..) => protocol,
            (None, Some(_), _) => Protocol::SCTP,
            _ if for_tcp => Protocol::TCP,
            (None, None, Some(state)) => state.likely_protocol(),
            (None, None, None) => return Ok(None),
        };
        let stray = [
            ("--set-tcp-flags", flags.is_some(), Protocol::TCP),
            ("--set-window-scale", scales.is_some(), Protocol::TCP),
            ("--set-vtags", self.set_vtags.is_some(), Protocol::SCTP),
        ];
        if let Some((flag, ..)) = stray
            .into_iter()
            .find(|(_, given, of)| *given && *of != protocol)
        {
            return Err(ChangeError::Stray { flag, protocol });
        }
        if !for_tcp && self.set_vtags.is_none() && self.set_state.is_none() {
            return Ok(None);
        }
        let no_state = ChangeError::NoState(protocol);
        let state = self.set_state;
        Ok(Some(match protocol {
            Protocol::TCP => ProtoInfo::Tcp(TcpInfo {
                state: state.map(|s| s.tcp.ok_or(no_state)).transpose()?,
                window_scale_orig: scales.map(|(orig, _)| orig),
                window_scale_reply: scales.map(|(_, reply)| reply),
                flags_orig: flags,
                flags_reply: flags,
            }),
            Protocol::SCTP if state.is_none() || self.set_vtags.is_none() => {
                return Err(ChangeError::SctpTogether);
            }
            Protocol::SCTP => ProtoInfo::Sctp(SctpInfo {
                state: state.map(|s| s.sctp.ok_or(no_state)).transpose()?,
                vtag_orig: self.set_vtags.map(|tags| tags.orig),
                vtag_reply: self.set_vtags.map(|tags| tags.reply),
            }),
            Protocol::DCCP => ProtoInfo::Dccp(DccpInfo {
                state: state.map(|s| s.dccp.ok_or(no_state)).transpose()?,
                ..DccpInfo::default()
            }),
            _ => return Err(no_state),
        }))
    }
}

fn scales(pair: Pair) -> Result<(u8, u8), ChangeError> {
    let scale = |value| match u8::try_from(value) {
        // RFC 7323, 2.3.
        Ok(scale @ 0..=14) => Ok(scale),
        _ => Err(ChangeError::WindowScale(value)),
    };
    Ok((scale(pair.orig)?, scale(pair.reply)?))
}

fn tcp_flags(MarkMask(bits): MarkMask) -> Result<TcpFlags, ChangeError> {
    let byte = |value| u8::try_from(value).map_err(|_| ChangeError::TcpFlags(value));
    let mask = if bits.mask == u32::MAX {
        bits.value
    } else {
        bits.mask
    };
    Ok(TcpFlags {
        flags: byte(bits.value)?,
        mask: byte(mask)?,
    })
}

fn seqadj(text: &str) -> Result<SeqAdj, String> {
    let mut parts = text.split(':');
    let parsed = (|| {
        let adjustment = SeqAdj {
            correction_pos: number32(parts.next()?).ok()?,
            offset_before: parts.next()?.parse().ok()?,
            offset_after: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(adjustment)
    })();
    parsed.ok_or_else(|| format!("{text:?} is not POS:BEFORE:AFTER, like 1000:0:-12"))
}

fn synproxy(text: &str) -> Result<Synproxy, String> {
    let numbers: Result<Vec<u32>, ValueError> = text.split(':').map(number32).collect();
    match numbers.as_deref() {
        Ok(&[isn, its, tsoff]) => Ok(Synproxy { isn, its, tsoff }),
        _ => Err(format!("{text:?} is not ISN:ITS:TSOFF, like 1:2:3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{SctpState, TcpState};

    fn changes(args: &ChangeArgs) -> FlowChanges {
        args.changes(None).unwrap()
    }

    #[test]
    fn nothing_said_is_nothing_changed() {
        let none = ChangeArgs::default();
        assert!(changes(&none).is_empty());
        assert!(none.changes(Some(Protocol::TCP)).unwrap().is_empty());
        assert!(none.changes(Some(Protocol::UDP)).unwrap().is_empty());
    }

    #[test]
    fn labels_are_set_and_cleared_together() {
        let mut args = ChangeArgs {
            set_label: Some("1,7".parse().unwrap()),
            clear_label: Some("2".parse().unwrap()),
            ..ChangeArgs::default()
        };
        let labels = Masked {
            value: Labels(0x82),
            mask: Labels(0x86),
        };
        assert_eq!(changes(&args).labels, Some(labels));
        args.clear_label = Some("7".parse().unwrap());
        assert_eq!(args.changes(None), Err(ChangeError::BothWays(7)));
    }

    #[test]
    fn a_state_is_of_tcp_unless_the_protocol_says_otherwise() {
        let args = ChangeArgs {
            set_state: Some("ESTABLISHED".parse().unwrap()),
            ..ChangeArgs::default()
        };
        let Some(ProtoInfo::Tcp(tcp)) = changes(&args).protoinfo else {
            panic!("{args:?}")
        };
        assert_eq!(tcp.state, TcpState::from_name("ESTABLISHED"));
        let alone = args.changes(Some(Protocol::SCTP));
        assert_eq!(alone, Err(ChangeError::SctpTogether));
        let tagged = ChangeArgs {
            set_vtags: Some("1:2".parse().unwrap()),
            ..args.clone()
        };
        let of_sctp = tagged.changes(None).unwrap().protoinfo;
        let Some(ProtoInfo::Sctp(sctp)) = of_sctp else {
            panic!("{of_sctp:?}")
        };
        assert_eq!(sctp.state, SctpState::from_name("ESTABLISHED"));
        let refused = args.changes(Some(Protocol::UDP));
        assert_eq!(refused, Err(ChangeError::NoState(Protocol::UDP)));
    }

    #[test]
    fn parts_of_two_protocols_do_not_mix() {
        let args = ChangeArgs {
            set_vtags: Some("1:2".parse().unwrap()),
            set_window_scale: Some("7:7".parse().unwrap()),
            ..ChangeArgs::default()
        };
        let flag = "--set-window-scale";
        let refused = ChangeError::Stray {
            flag,
            protocol: Protocol::SCTP,
        };
        assert_eq!(args.changes(None), Err(refused));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let scale = |pair: &str| ChangeArgs {
            set_window_scale: Some(pair.parse().unwrap()),
            ..ChangeArgs::default()
        };
        assert_eq!(
            scale("7:15").changes(None),
            Err(ChangeError::WindowScale(15))
        );
        assert!(scale("0:14").changes(None).is_ok());
        let flags = ChangeArgs {
            set_tcp_flags: Some("0x100".parse().unwrap()),
            ..ChangeArgs::default()
        };
        assert_eq!(flags.changes(None), Err(ChangeError::TcpFlags(0x100)));
        let cleared = ChangeArgs {
            set_status: Some("UNREPLIED".parse().unwrap()),
            ..ChangeArgs::default()
        };
        assert_eq!(cleared.changes(None), Err(ChangeError::ClearStatus));
        assert!(seqadj("1000:0:-12").is_ok());
        assert!(seqadj("1000:0").is_err() && seqadj("1:2:3:4").is_err());
        assert!(synproxy("1:0x2:3").is_ok());
        assert!(synproxy("1:2").is_err());
    }
}
