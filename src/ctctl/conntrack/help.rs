//! `-h`: the commands and options in a few lines, and those of a protocol.

use std::fmt::Write as _;

use super::Banner;
use super::protocol::dialect;
use crate::flow::Protocol;

/// What is shown for `-h`, and for a line without a command.
const HELP: &str = "\
Usage: conntrack COMMAND [TABLE] [OPTIONS]

Commands:
  -L, --dump                 list a table
  -G, --get                  show one entry
  -D, --delete               delete the entries that fit
  -I, --create               create an entry that does not exist
  -A, --add                  create an entry, or leave the one that exists
  -U, --update               change the entries that fit
  -E, --event                show events until a signal
  -F, --flush                empty a table
  -C, --counter              how many entries there are
  -S, --stats                the kernel's statistics
  -R, --load-file FILE       run the -A, -I, -U, -D and -F of a file; - is standard input
  -V, --version              the version of this command line

Tables: conntrack, expect, dying, unconfirmed

Options:
  -s, --src ADDRESS[/LENGTH]     source of the original direction; --mask-src MASK
  -d, --dst ADDRESS[/LENGTH]     its destination; --mask-dst MASK
  -r, --reply-src ADDRESS        source of the reply direction
  -q, --reply-dst ADDRESS        its destination
  -p, --protonum PROTO           protocol, by name or number; -h -p PROTO shows its options
  -f, --family ipv4|ipv6         family
  -t, --timeout SECONDS          timeout
  -m, --mark MARK[/MASK]         mark
  -u, --status STATUS[,...]      ASSURED, SEEN_REPLY, FIXED_TIMEOUT, EXPECTED, OFFLOAD,
                                 HW_OFFLOAD, UNSET; to select also UNREPLIED and !STATUS
  -n, --src-nat [ADDRESS[:PORT]] source translated
  -g, --dst-nat [ADDRESS[:PORT]] destination translated
  -j, --any-nat [ADDRESS[:PORT]] either of them
  -w, --zone ZONE                zone; --orig-zone ZONE, --reply-zone ZONE
  -l, --label LABEL[,...]        labels, by name or number
  --label-add LABEL, --label-del [LABEL]
  -c, --secmark MARK             passed over: no kernel sends it
  -z, --zero                     set the counters to zero when they are read
  -e, --event-mask KIND[,...]    NEW, UPDATES, DESTROY or ALL
  -b, --buffer-size BYTES        passed over: the agents' buffers are theirs
  -o, --output FORM[,...]        xml, extended, timestamp, id, ktimestamp, labels, userspace,
                                 or save alone
  --tuple-src ADDRESS, --tuple-dst ADDRESS    the expected flow

Beside conntrack(8):
  --yes                          do not ask before a change of several nodes
  --include-own-connections      also change the flows that carry the agents' connections
";

/// The help, and that of a protocol.
pub fn help(protocol: Option<Protocol>) -> String {
    let mut text = format!("{Banner}\n{HELP}");
    if let Some(protocol) = protocol {
        let options = dialect(protocol).parts;
        // Writing to a string does not fail.
        let _ = writeln!(text, "\nOptions of {protocol}:");
        for (_, name) in options {
            let _ = writeln!(text, "  --{name}");
        }
        if options.is_empty() {
            text.push_str("  none\n");
        }
    }
    text
}
