//! Options to a [`Line`], and the refusals of conntrack(8): what is missing, what does not go
//! with the command, what does not go together.

use std::net::IpAddr;

use super::error::LineError;
use super::line::{Line, Nat};
use super::protocol::{self, Part};
use super::value;
use super::vocabulary::{self, Action, Opt, Rule, Table};
use super::words::{Code, Extra, Given, Words};
use crate::ctctl::connlabel::LabelNames;
use crate::flow::{DccpState, Family, Labels, Protocol, SctpState, TcpState};

/// Reads a command line. `names` are those of the labels, if there is a list of them.
pub fn parse(words: &[String], names: Option<&LabelNames>) -> Result<Line, LineError> {
    let mut line = Line::default();
    let mut labels = LabelLists::default();
    let mut words = Words::new(words);
    loop {
        let dialect = line.dialect();
        let Some(Given { code, value }) = words.next(dialect.as_ref())? else {
            break;
        };
        match code {
            Code::Action(action) => command(&mut line, action, value)?,
            Code::Opt(opt) => option(&mut line, &mut labels, opt, value)?,
            Code::Part(which) => {
                let number = part(&line, which, value.unwrap_or_default())?;
                line.parts.set(which, number);
            }
            Code::Extra(Extra::Yes) => line.yes = true,
            Code::Extra(Extra::IncludeOwn) => line.include_own = true,
        }
    }
    let both = line
        .action
        .is_some_and(|action| action.is_of_both_families(line.table));
    if line.family.is_none() && !both {
        line.family = Some(Family::V4);
    }
    labels.look_up(&mut line, names)?;
    check(&line)?;
    Ok(line)
}

/// Names of labels, which are looked up when the line is complete.
#[derive(Default)]
struct LabelLists<'a> {
    of_filter: Vec<&'a str>,
    to_change: Vec<&'a str>,
}

impl LabelLists<'_> {
    fn look_up(&self, line: &mut Line, names: Option<&LabelNames>) -> Result<(), LineError> {
        let bits = |lists: &[&str]| {
            let mut bits = 0;
            for name in lists.iter().flat_map(|list| list.split(',')) {
                let named = names.and_then(|names| names.number(name));
                // A number means itself, unless it is a name.
                let bit = named.or_else(|| name.parse().ok()).filter(|bit| *bit < 128);
                let bit = bit.ok_or_else(|| LineError::Label(name.to_owned()))?;
                bits |= 1u128 << bit;
            }
            Ok(Labels(bits))
        };
        line.labels = bits(&self.of_filter)?;
        line.labels_changed = bits(&self.to_change)?;
        Ok(())
    }
}

fn command(line: &mut Line, action: Action, table: Option<&str>) -> Result<(), LineError> {
    let table = match table {
        None => Table::Conntrack,
        Some(name) => {
            Table::from_name(name).ok_or_else(|| LineError::UnknownTable(name.to_owned()))?
        }
    };
    match table {
        Table::Dying | Table::Unconfirmed if action != Action::List => {
            return Err(LineError::OnlyListed);
        }
        Table::Expect if matches!(action, Action::Add | Action::Update) => {
            return Err(LineError::NotOnExpectations(action.name()));
        }
        _ => {}
    }
    if line.action.replace(action).is_some() {
        return Err(LineError::TwoCommands);
    }
    line.table = table;
    Ok(())
}

fn option<'a>(
    line: &mut Line,
    labels: &mut LabelLists<'a>,
    opt: Opt,
    value: Option<&'a str>,
) -> Result<(), LineError> {
    let text = value.unwrap_or_default();
    if opt == Opt::NatRange {
        // It goes with every command, since it means nothing.
        let words = "ignoring -a, deprecated option.".to_owned();
        line.warnings.push(words);
        return Ok(());
    }
    line.opts.add(opt);
    match opt {
        Opt::Src
        | Opt::Dst
        | Opt::ReplySrc
        | Opt::ReplyDst
        | Opt::TupleSrc
        | Opt::TupleDst
        | Opt::MaskSrc
        | Opt::MaskDst => place(line, opt, text)?,
        Opt::Proto => protocol_named(line, text)?,
        Opt::Timeout => line.timeout = Some(value::bounded(text, "-t")?),
        Opt::Status => {
            let so_far = line.status.unwrap_or_default();
            line.status = Some(value::status(text, so_far, &mut line.warnings)?);
        }
        Opt::Zero => line.zero = true,
        Opt::EventMask => line.events = Some(value::events(text, line.events)?),
        Opt::NatRange => {}
        Opt::Mark => line.mark = Some(value::mark(text)?),
        Opt::Id => line.id = Some(value::bounded(text, "-i")?),
        Opt::Family => family(line, text)?,
        Opt::SrcNat => line.src_nat = Some(nat(line, opt, value)?),
        Opt::DstNat => line.dst_nat = Some(nat(line, opt, value)?),
        Opt::AnyNat => line.any_nat = Some(nat(line, opt, value)?),
        Opt::Output => line.output = value::output(text, line.output)?,
        Opt::Secmark => line.secmark = Some(value::bounded(text, "-c")?),
        Opt::BufferSize => line.buffer_size = Some(value::bounded(text, "-b")?),
        Opt::Zone => line.zone = Some(value::bounded(text, "-w")?),
        Opt::OrigZone => line.orig_zone = Some(value::bounded(text, "--orig-zone")?),
        Opt::ReplyZone => line.reply_zone = Some(value::bounded(text, "--reply-zone")?),
        Opt::Label => labels.of_filter.push(text),
        Opt::LabelAdd | Opt::LabelDel => {
            if line.opts.has(Opt::LabelAdd) && line.opts.has(Opt::LabelDel) {
                return Err(LineError::LabelsBothWays);
            }
            match value {
                None => line.no_labels = true,
                Some(list) => labels.to_change.push(list),
            }
        }
    }
    Ok(())
}

/// An address of the line fixes its family.
fn of_family(line: &mut Line, family: Family) -> Result<(), LineError> {
    if line.family.is_some_and(|said| said != family) {
        return Err(LineError::Families);
    }
    line.family = Some(family);
    Ok(())
}

fn family(line: &mut Line, text: &str) -> Result<(), LineError> {
    let family = match text {
        text if text.starts_with("ipv4") => Family::V4,
        text if text.starts_with("ipv6") => Family::V6,
        text => return Err(LineError::Protocol(text.to_owned())),
    };
    of_family(line, family)
}

/// An address; with a prefix length, also the mask.
fn place(line: &mut Line, opt: Opt, text: &str) -> Result<(), LineError> {
    let (address, mask) = value::network(text).map_err(|error| match error {
        LineError::Address(_) => LineError::Address(text.to_owned()),
        error => error,
    })?;
    of_family(line, Family::of(address))?;
    // Every bit counts without a mask, too.
    let whole = |mask: &IpAddr| match mask {
        IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
        IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
    };
    let narrowed = mask.filter(|mask| !whole(mask));
    match opt {
        Opt::Src | Opt::TupleSrc if narrowed.is_some() => {
            line.mask_src = narrowed;
            line.opts.add(Opt::MaskSrc);
        }
        Opt::Dst | Opt::TupleDst if narrowed.is_some() => {
            line.mask_dst = narrowed;
            line.opts.add(Opt::MaskDst);
        }
        Opt::Src | Opt::Dst | Opt::TupleSrc | Opt::TupleDst => {}
        _ if mask.is_some() => return Err(LineError::NoNetwork(opt.name())),
        _ => {}
    }
    let field = match opt {
        Opt::Src => &mut line.src,
        Opt::Dst => &mut line.dst,
        Opt::ReplySrc => &mut line.reply_src,
        Opt::ReplyDst => &mut line.reply_dst,
        Opt::TupleSrc => &mut line.tuple_src,
        Opt::TupleDst => &mut line.tuple_dst,
        Opt::MaskSrc => &mut line.mask_src,
        _ => &mut line.mask_dst,
    };
    *field = Some(address);
    Ok(())
}

/// A protocol that conntrack follows, another one that the system has a name for, or a number.
fn protocol_named(line: &mut Line, text: &str) -> Result<(), LineError> {
    let tracked = Protocol::NAMES
        .iter()
        .find(|(_, name)| name.eq_ignore_ascii_case(text))
        .map(|(protocol, _)| *protocol);
    let number = || {
        value::number(text)
            .and_then(|number| u8::try_from(number).ok())
            .map(Protocol)
    };
    let protocol = tracked
        .or_else(|| system_protocol(text))
        .or_else(number)
        .ok_or_else(|| LineError::Protocol(text.to_owned()))?;
    line.protocol = Some(protocol);
    Ok(())
}

/// A name of /etc/protocols.
fn system_protocol(name: &str) -> Option<Protocol> {
    let text = std::fs::read_to_string("/etc/protocols").ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let number = words.next()?.parse().ok()?;
        let named = official == name || words.any(|alias| alias == name);
        named.then_some(Protocol(number))
    })
}

fn nat(line: &mut Line, opt: Opt, value: Option<&str>) -> Result<Nat, LineError> {
    let Some(text) = value else {
        return Ok(Nat::default());
    };
    let nat = value::nat(text, opt.name())?;
    if let Some(address) = nat.address {
        of_family(line, Family::of(address))?;
    }
    Ok(nat)
}

/// A value that the protocol adds.
fn part(line: &Line, part: Part, text: &str) -> Result<u32, LineError> {
    let protocol = line.protocol.unwrap_or_default();
    let small = |max: u64| {
        value::number(text)
            .filter(|number| *number <= max)
            .and_then(|number| u32::try_from(number).ok())
    };
    match part {
        Part::State => state(protocol, text),
        Part::Role => ["client", "server"]
            .iter()
            .position(|role| {
                role.get(..text.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(text))
            })
            .and_then(|role| u32::try_from(role).ok())
            .ok_or_else(|| LineError::Dccp {
                what: "role",
                word: text.to_owned(),
            }),
        // conntrack(8) takes the four bytes of the wire for a number of the machine.
        Part::OrigVtag => value::bounded(text, "--orig-vtag").map(u32::to_be),
        Part::ReplyVtag => value::bounded(text, "--reply-vtag").map(u32::to_be),
        Part::IcmpType | Part::IcmpCode => {
            small(u8::MAX.into()).ok_or_else(|| not_a_number(line, part, text))
        }
        _ if protocol == Protocol::GRE || part == Part::IcmpId => {
            small(u16::MAX.into()).ok_or_else(|| not_a_number(line, part, text))
        }
        // Ports are decimal, and so is one that begins with 0.
        _ => text
            .parse::<u16>()
            .map(u32::from)
            .map_err(|_| LineError::Port(text.to_owned())),
    }
}

fn not_a_number(line: &Line, part: Part, text: &str) -> LineError {
    let names = line.dialect().map_or(&[][..], |dialect| dialect.parts);
    let option = names.iter().find(|(known, _)| *known == part);
    LineError::Number {
        option: option.map_or("", |(_, name)| name),
        value: text.to_owned(),
    }
}

fn state(protocol: Protocol, text: &str) -> Result<u32, LineError> {
    let state = text.to_owned();
    let known = |number: Option<u8>| number.map(u32::from);
    match protocol {
        Protocol::TCP => match text {
            // The number that SYN_SENT2 has today.
            "LISTEN" => Some(9),
            _ if text.chars().any(char::is_lowercase) => None,
            name => known(TcpState::from_name(name).map(|state| state.0)),
        }
        .ok_or(LineError::State {
            protocol: "TCP",
            state,
        }),
        Protocol::SCTP => match text {
            _ if text.chars().any(char::is_lowercase) => None,
            name => known(SctpState::from_name(name).map(|state| state.0)),
        }
        .ok_or(LineError::State {
            protocol: "SCTP",
            state,
        }),
        _ => match text {
            _ if text.chars().any(char::is_lowercase) => None,
            name => known(DccpState::from_name(name).map(|state| state.0)),
        }
        .ok_or(LineError::Dccp {
            what: "state",
            word: state,
        }),
    }
}

/// What conntrack(8) refuses before it asks the kernel.
fn check(line: &Line) -> Result<(), LineError> {
    if line.has(Opt::AnyNat) && (line.has(Opt::SrcNat) || line.has(Opt::DstNat)) {
        return Err(LineError::AnyNat);
    }
    let rules = Opt::ALL.iter().map(|(opt, _, name, _)| {
        let rule = match line.action {
            Some(action) => vocabulary::rule(action, line.table, *opt),
            None => Rule::Illegal,
        };
        (rule, line.has(*opt), *name)
    });
    let paired = rules_kept(rules)?;
    if paired {
        pair(
            [line.has(Opt::Src), line.has(Opt::Dst)],
            [line.has(Opt::ReplySrc), line.has(Opt::ReplyDst)],
            [("src", "dst"), ("reply-src", "reply-dst")],
        )?;
    }
    check_parts(line)?;
    if line.action == Some(Action::List) && line.table == Table::Conntrack && line.zero {
        let filters = [
            Opt::Proto,
            Opt::Src,
            Opt::Dst,
            Opt::ReplySrc,
            Opt::ReplyDst,
            Opt::Mark,
            Opt::Secmark,
            Opt::Status,
            Opt::Zone,
            Opt::OrigZone,
            Opt::ReplyZone,
            Opt::Label,
        ];
        if filters.iter().any(|opt| line.has(*opt)) {
            return Err(LineError::ZeroOfSome);
        }
    }
    if line.table == Table::Conntrack {
        for (mask, of, name) in [
            (Opt::MaskSrc, Opt::Src, "src"),
            (Opt::MaskDst, Opt::Dst, "dst"),
        ] {
            if line.has(mask) && !line.has(of) {
                return Err(LineError::MaskAlone(name));
            }
        }
    }
    Ok(())
}

/// The rules of the protocol's options.
fn check_parts(line: &Line) -> Result<(), LineError> {
    let (Some(action), Some(protocol), Some(dialect)) =
        (line.action, line.protocol, line.dialect())
    else {
        return Ok(());
    };
    if action == Action::Help {
        return Ok(());
    }
    let given = |part: Part| line.parts.get(part).is_some();
    let rules = dialect.parts.iter().map(|(part, name)| {
        let rule = protocol::rule(protocol, action, line.table, *part);
        (rule, given(*part), *name)
    });
    if !rules_kept(rules)? {
        return Ok(());
    }
    pair(
        [given(Part::Src), given(Part::Dst)],
        [given(Part::ReplySrc), given(Part::ReplyDst)],
        dialect.pairs,
    )
}

/// Reports the first rule that is broken. Whether some options go in pairs.
fn rules_kept(rules: impl Iterator<Item = (Rule, bool, &'static str)>) -> Result<bool, LineError> {
    let mut paired = false;
    for (rule, given, name) in rules {
        match (rule, given) {
            (Rule::Required, false) => return Err(LineError::Missing(name)),
            (Rule::Illegal, true) => return Err(LineError::Illegal(name)),
            (rule, _) => paired |= rule == Rule::Paired,
        }
    }
    Ok(paired)
}

/// One of the directions has to be whole.
fn pair(
    orig: [bool; 2],
    reply: [bool; 2],
    names: [(&'static str, &'static str); 2],
) -> Result<(), LineError> {
    let whole = |ends: [bool; 2]| ends.iter().all(|end| *end);
    let begun = |ends: [bool; 2]| ends.iter().any(|end| *end);
    if whole(orig) || whole(reply) {
        return Ok(());
    }
    let (src, dst) = match begun(reply) && !begun(orig) {
        true => names[1],
        false => names[0],
    };
    Err(LineError::Pair(src, dst))
}
