//! Commands, tables and options, their names, and which option goes with which command.

/// One of the kernel's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The connection tracking table.
    #[default]
    Conntrack,
    /// The expectations.
    Expect,
    /// Flows whose destroy event waits for delivery.
    Dying,
    /// Flows whose first packet is still on its way.
    Unconfirmed,
}

impl Table {
    /// The table of a name or of its beginning.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [
            ("expect", Self::Expect),
            ("conntrack", Self::Conntrack),
            ("dying", Self::Dying),
            ("unconfirmed", Self::Unconfirmed),
        ]
        .into_iter()
        .find(|(table, _)| table.starts_with(name))
        .map(|(_, table)| table)
    }
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `-L`.
    List,
    /// `-I`.
    Create,
    /// `-A`.
    Add,
    /// `-U`.
    Update,
    /// `-D`.
    Delete,
    /// `-G`.
    Get,
    /// `-F`.
    Flush,
    /// `-E`.
    Event,
    /// `-C`.
    Count,
    /// `-S`.
    Stats,
    /// `-V`.
    Version,
    /// `-h`.
    Help,
}

impl Action {
    /// Letters and names. The long ones may bring their table as a value.
    pub(super) const ALL: [(char, &'static str, Self); 12] = [
        ('L', "dump", Self::List),
        ('I', "create", Self::Create),
        ('A', "add", Self::Add),
        ('D', "delete", Self::Delete),
        ('U', "update", Self::Update),
        ('G', "get", Self::Get),
        ('F', "flush", Self::Flush),
        ('E', "event", Self::Event),
        ('C', "counter", Self::Count),
        ('S', "stats", Self::Stats),
        ('V', "version", Self::Version),
        ('h', "help", Self::Help),
    ];

    /// Its long name.
    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, _, action)| *action == self)
            .map_or("", |(_, name, _)| name)
    }

    /// Whether its long name may bring a table with it: `--dump=expect`.
    pub(super) fn names_its_table(self) -> bool {
        !matches!(self, Self::Stats | Self::Version | Self::Help)
    }

    /// Whether the line may say no family, and then means both.
    pub(super) fn is_of_both_families(self, table: Table) -> bool {
        table != Table::Expect
            && matches!(
                self,
                Self::List | Self::Update | Self::Delete | Self::Get | Self::Flush | Self::Event
            )
    }
}

/// An option of its own, in the order in which a missing or a wrong one is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    /// `-s`.
    Src,
    /// `-d`.
    Dst,
    /// `-r`.
    ReplySrc,
    /// `-q`.
    ReplyDst,
    /// `-p`.
    Proto,
    /// `-t`.
    Timeout,
    /// `-u`.
    Status,
    /// `-z`.
    Zero,
    /// `-e`.
    EventMask,
    /// `--tuple-src`.
    TupleSrc,
    /// `--tuple-dst`.
    TupleDst,
    /// `--mask-src`.
    MaskSrc,
    /// `--mask-dst`.
    MaskDst,
    /// `-a`, which means nothing any more.
    NatRange,
    /// `-m`.
    Mark,
    /// `-i`.
    Id,
    /// `-f`.
    Family,
    /// `-n`.
    SrcNat,
    /// `-g`.
    DstNat,
    /// `-o`.
    Output,
    /// `-c`.
    Secmark,
    /// `-b`.
    BufferSize,
    /// `-j`.
    AnyNat,
    /// `-w`.
    Zone,
    /// `-l`.
    Label,
    /// `--label-add`.
    LabelAdd,
    /// `--label-del`.
    LabelDel,
    /// `--orig-zone`.
    OrigZone,
    /// `--reply-zone`.
    ReplyZone,
}

/// Whether a value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Never.
    No,
    /// Always.
    Yes,
    /// Attached, or in the next word unless that is an option.
    Maybe,
}

impl Opt {
    /// Every option: its letter (some are signs that nobody types), its name in complaints,
    /// and whether a value follows.
    pub(super) const ALL: [(Self, char, &'static str, Value); 29] = [
        (Self::Src, 's', "src", Value::Yes),
        (Self::Dst, 'd', "dst", Value::Yes),
        (Self::ReplySrc, 'r', "reply-src", Value::Yes),
        (Self::ReplyDst, 'q', "reply-dst", Value::Yes),
        (Self::Proto, 'p', "protonum", Value::Yes),
        (Self::Timeout, 't', "timeout", Value::Yes),
        (Self::Status, 'u', "status", Value::Yes),
        (Self::Zero, 'z', "zero", Value::No),
        (Self::EventMask, 'e', "event-mask", Value::Yes),
        (Self::TupleSrc, '[', "tuple-src", Value::Yes),
        (Self::TupleDst, ']', "tuple-dst", Value::Yes),
        (Self::MaskSrc, '{', "mask-src", Value::Yes),
        (Self::MaskDst, '}', "mask-dst", Value::Yes),
        (Self::NatRange, 'a', "nat-range", Value::Yes),
        (Self::Mark, 'm', "mark", Value::Yes),
        (Self::Id, 'i', "id", Value::Yes),
        (Self::Family, 'f', "family", Value::Yes),
        (Self::SrcNat, 'n', "src-nat", Value::Maybe),
        (Self::DstNat, 'g', "dst-nat", Value::Maybe),
        (Self::Output, 'o', "output", Value::Yes),
        (Self::Secmark, 'c', "secmark", Value::Yes),
        (Self::BufferSize, 'b', "buffer-size", Value::Yes),
        (Self::AnyNat, 'j', "any-nat", Value::Maybe),
        (Self::Zone, 'w', "zone", Value::Yes),
        (Self::Label, 'l', "label", Value::Yes),
        (Self::LabelAdd, '<', "label-add", Value::Yes),
        (Self::LabelDel, '>', "label-del", Value::Maybe),
        (Self::OrigZone, '(', "orig-zone", Value::Yes),
        (Self::ReplyZone, ')', "reply-zone", Value::Yes),
    ];

    /// Names beside those of the table.
    pub(super) const ALIASES: [(&'static str, Self); 2] =
        [("orig-src", Self::Src), ("orig-dst", Self::Dst)];

    /// Its name in complaints.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    pub(super) fn value(self) -> Value {
        Self::ALL[self as usize].3
    }
}

/// How an option goes with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Not at all.
    Illegal,
    /// It has to be there.
    Required,
    /// It may be there.
    Allowed,
    /// It is there together with its other half, in one of the directions.
    Paired,
}

/// The four ends of a flow.
const ENDS: [Opt; 4] = [Opt::Src, Opt::Dst, Opt::ReplySrc, Opt::ReplyDst];

/// How this option goes with this command.
pub(super) fn rule(action: Action, table: Table, opt: Opt) -> Rule {
    let one_of = |allowed: &[Opt]| match allowed.contains(&opt) {
        true => Rule::Allowed,
        false => Rule::Illegal,
    };
    if table == Table::Expect {
        return of_expectations(action, opt);
    }
    match action {
        Action::Create | Action::Add => match opt {
            opt if ENDS.contains(&opt) => Rule::Paired,
            Opt::Proto | Opt::Timeout => Rule::Required,
            _ => one_of(&[
                Opt::Status,
                Opt::NatRange,
                Opt::Mark,
                Opt::SrcNat,
                Opt::DstNat,
                Opt::Zone,
                Opt::LabelAdd,
                Opt::OrigZone,
                Opt::ReplyZone,
            ]),
        },
        Action::Get => match opt {
            opt if ENDS.contains(&opt) => Rule::Paired,
            Opt::Proto => Rule::Required,
            _ => one_of(&[Opt::Id, Opt::Output, Opt::Label]),
        },
        Action::Flush => one_of(&[Opt::Family]),
        Action::Help => one_of(&[Opt::Proto]),
        Action::Count | Action::Stats | Action::Version => Rule::Illegal,
        Action::List | Action::Update | Action::Delete | Action::Event => {
            if of_selections(action, opt) {
                Rule::Allowed
            } else {
                Rule::Illegal
            }
        }
    }
}

/// Whether an option goes with a command that selects flows.
fn of_selections(action: Action, opt: Opt) -> bool {
    let (list, update, delete, event) = (
        action == Action::List,
        action == Action::Update,
        action == Action::Delete,
        action == Action::Event,
    );
    match opt {
        Opt::Src
        | Opt::Dst
        | Opt::ReplySrc
        | Opt::ReplyDst
        | Opt::Proto
        | Opt::MaskSrc
        | Opt::MaskDst
        | Opt::Mark
        | Opt::Family
        | Opt::SrcNat
        | Opt::DstNat
        | Opt::Output
        | Opt::Label => true,
        Opt::Timeout | Opt::Id => update || delete,
        Opt::Status => !event,
        Opt::Zero => list,
        Opt::EventMask | Opt::BufferSize => event,
        Opt::Secmark | Opt::AnyNat => list || event,
        Opt::Zone | Opt::OrigZone | Opt::ReplyZone => !update,
        Opt::LabelAdd | Opt::LabelDel => update,
        Opt::TupleSrc | Opt::TupleDst | Opt::NatRange => false,
    }
}

fn of_expectations(action: Action, opt: Opt) -> Rule {
    match (action, opt) {
        (Action::List, Opt::Family | Opt::Output) | (Action::Event, Opt::Output) => Rule::Allowed,
        (
            Action::Create,
            Opt::Src
            | Opt::Dst
            | Opt::Proto
            | Opt::Timeout
            | Opt::TupleSrc
            | Opt::TupleDst
            | Opt::MaskSrc
            | Opt::MaskDst,
        )
        | (Action::Delete | Action::Get, Opt::Src | Opt::Dst | Opt::Proto) => Rule::Required,
        (Action::Create, Opt::Status)
        | (Action::Create | Action::Delete | Action::Get, Opt::ReplySrc | Opt::ReplyDst) => {
            Rule::Allowed
        }
        _ => Rule::Illegal,
    }
}
