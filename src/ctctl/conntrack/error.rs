//! Command lines that cannot be followed, in the words of conntrack(8), and its exit codes.

/// The exit code of a wrong command line.
const PARAMETER_PROBLEM: u8 = 2;
/// The exit code of anything else.
const OTHER_PROBLEM: u8 = 1;

/// A command line that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// An option that does not exist, or not yet: those of a protocol come after `-p`.
    #[error("unknown option `{0}'")]
    UnknownOption(String),
    /// An option without its value.
    #[error("option `{0}' requires an argument")]
    NoArgument(String),
    /// Two commands.
    #[error("Invalid commands combination")]
    TwoCommands,
    /// A table that does not exist.
    #[error("unknown type `{0}'")]
    UnknownTable(String),
    /// A command on one of the lists that can only be read.
    #[error("Can't do that command with tables `dying' and `unconfirmed'")]
    OnlyListed,
    /// A command that expectations do not have.
    #[error("Can't do --{0} on expectations")]
    NotOnExpectations(&'static str),
    /// A word of a list that is none.
    #[error("Bad parameter `{0}'")]
    BadParameter(String),
    /// Not an address.
    #[error("Invalid IP address `{0}'")]
    Address(String),
    /// Not a prefix length.
    #[error("Invalid netmask")]
    Netmask,
    /// A network where only an address can be.
    #[error("CIDR notation unavailable for `--{0}'")]
    NoNetwork(&'static str),
    /// IPv4 and IPv6 in one line.
    #[error("mismatched address family")]
    Families,
    /// A protocol or family that is not known.
    #[error("`{0}' unsupported protocol")]
    Protocol(String),
    /// `[]:80`.
    #[error("No IPv6 address specified")]
    NoAddress,
    /// `[::1`.
    #[error("No closing ']' around IPv6 address")]
    NoBracket,
    /// `10.0.0.1:`.
    #[error("No port specified after `:'")]
    NoPort,
    /// Not a port.
    #[error("Invalid port `{0}'")]
    Port(String),
    /// A number that is none, or too large.
    #[error("unexpected value '{value}' with {option} option")]
    Number {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// A state that the protocol does not have.
    #[error("unknown {protocol} state `{state}'")]
    State {
        /// TCP, SCTP.
        protocol: &'static str,
        /// The word.
        state: String,
    },
    /// A role that is none.
    #[error("Unknown DCCP {what} `{word}'")]
    Dccp {
        /// "state" or "role".
        what: &'static str,
        /// The word.
        word: String,
    },
    /// A label that connlabel.conf does not have.
    #[error("unknown label '{0}'")]
    Label(String),
    /// Labels both ways.
    #[error("cannot use --label-add and --label-del at the same time")]
    LabelsBothWays,
    /// Both kinds of translation.
    #[error("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'")]
    AnyNat,
    /// A form of output that goes with no other.
    #[error("cannot combine save output with any other output type, use -o save only")]
    SaveAlone,
    /// An option that is missing.
    #[error("You need to supply the `--{0}' option for this command")]
    Missing(&'static str),
    /// An option that does not go with the command.
    #[error("Illegal option `--{0}' with this command")]
    Illegal(&'static str),
    /// Two options that go together.
    #[error("you have to specify `--{0}' and `--{1}'")]
    Pair(&'static str, &'static str),
    /// A mask of nothing.
    #[error("Can't use --mask-{0} without --{0}")]
    MaskAlone(&'static str),
    /// Counters that are read and reset are those of the whole table.
    #[error("Can't use -z with filtering parameters")]
    ZeroOfSome,
    /// A file that cannot be read.
    #[error("Failed to open file {0} for reading")]
    File(String),
    /// A command that a file cannot have.
    #[error("Cannot use command `{0}' with --load-file")]
    NotInFile(&'static str),
    /// A comment that `-o save` wrote, and somebody changed.
    #[error("the comment before it: {0}")]
    Comment(String),
    /// An entry that was saved from a node which nobody named.
    #[error(
        "saved from node {0:?}, which is not among the targets; name one so (-t {0}=ADDRESS), \
         or send all to all with ctctl create --any-node"
    )]
    Node(String),
    /// A word or a line without an end.
    #[error("{0}")]
    TooLong(&'static str),
    /// What the kernel answers to conntrack(8), and no agent has to be asked for.
    #[error("Operation failed: {0}")]
    Kernel(&'static str),
    /// What conntrack(8) would pass on in a shape that the agents do not take.
    #[error("{0}")]
    Unfit(&'static str),
}

impl LineError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Number { .. } | Self::SaveAlone | Self::LabelsBothWays | Self::Kernel(_) => {
                OTHER_PROBLEM
            }
            _ => PARAMETER_PROBLEM,
        }
    }

    /// Whether the help is pointed to.
    pub fn is_usage(&self) -> bool {
        self.exit_code() == PARAMETER_PROBLEM
    }
}
