//! `ctctl create`: one flow from flags, or the flows of a file, streamed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::CommandError;
use super::bulk::{Accounted, BulkArgs, failed_lines, run as run_bulk};
use crate::ctctl::args::changes::ChangeArgs;
use crate::ctctl::args::tuple::TupleArgs;
use crate::ctctl::args::values::{LabelSet, MarkMask, NatTo, Pair, StateName, StatusBits};
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Sink, Stop};
use crate::ctctl::feed::Feed;
use crate::flow::{Flow, Helper, HelperName, L4, Labels, Masked, Protocol, Tuple};
use crate::pb::{self, bulk};

/// What to create.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A file has lines as `ctctl list -o save`, `conntrack -L -o save` and `ctctl \
                  list -o jsonl` write them. Entries that name their node go to the target \
                  of that name. A line that fails does not stop the others."
)]
pub struct CreateArgs {
    /// What happens to a flow that exists
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeName::Create)]
    mode: ModeName,
    /// Also update the flows that carry the agents' own connections, ours among them
    #[arg(long)]
    include_own_connections: bool,
    #[command(flatten)]
    bulk: BulkArgs,
    #[command(flatten)]
    tuple: TupleArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// What happens to an entry that exists.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModeName {
    /// It must not exist
    Create,
    /// Create it, or update the one that is there
    Upsert,
    /// It must exist
    Update,
}

/// What a flow has beside its end points.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The flow")]
struct PartArgs {
    /// Expire so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    set_timeout: Option<u32>,
    /// Source is translated to this
    #[arg(short = 'n', long, value_name = "IP[:PORT]")]
    src_nat: Option<NatTo>,
    /// Destination is translated to this
    #[arg(short = 'g', long, value_name = "IP[:PORT]")]
    dst_nat: Option<NatTo>,
    /// State of TCP, SCTP or DCCP
    #[arg(long, value_name = "STATE")]
    state: Option<StateName>,
    /// SCTP verification tags, original:reply
    #[arg(long, value_name = "ORIG:REPLY")]
    vtags: Option<Pair>,
    /// Status bits: ASSURED, SEEN_REPLY, FIXED_TIMEOUT
    #[arg(short = 'u', long, value_name = "STATUS")]
    status: Option<StatusBits>,
    /// Mark
    #[arg(short = 'm', long, value_name = "MARK")]
    mark: Option<MarkMask>,
    /// Labels, by number
    #[arg(short = 'l', long, value_name = "LABELS", visible_alias = "labels")]
    label: Option<LabelSet>,
    /// Helper's name
    #[arg(long, value_name = "NAME")]
    helper: Option<HelperName>,
}

pub(super) async fn run(args: CreateArgs, context: &mut Context) -> Result<u8, CommandError> {
    let mode = match args.mode {
        ModeName::Create => pb::CreateMode::Create,
        ModeName::Upsert => pb::CreateMode::Upsert,
        ModeName::Update => pb::CreateMode::Update,
    };
    let flow = match args.bulk.file {
        Some(_) if !args.tuple.is_empty() => {
            return Err(CommandError::Usage(
                "a flow comes from --file or from flags, not both",
            ));
        }
        Some(_) => None,
        None if args.tuple.is_empty() => {
            return Err(CommandError::Usage(
                "create needs a flow: its end points and --set-timeout, or --file FILE",
            ));
        }
        None => Some(flow(&args.tuple, &args.parts, args.mode)?),
    };
    let include_own = args.include_own_connections;
    run_bulk(
        context,
        &args.bulk,
        flow,
        "created",
        move |session, feed, sink| send(session, feed, sink, (mode, include_own)),
    )
    .await
}

/// Streams the batches to an agent and reads what became of them.
async fn send(
    session: Session,
    feed: Feed<Flow>,
    sink: Sink<Accounted>,
    (mode, include_own_connections): (pb::CreateMode, bool),
) -> Result<(), Stop> {
    let Some(batches) = feed.take(session.target()) else {
        return Ok(());
    };
    let header = pb::CreateFlowsHeader {
        network_namespace: session.namespace(),
        mode: mode.into(),
        include_own_connections,
    };
    let ledger = Ledger::default();
    let requests = {
        let ledger = ledger.clone();
        let first = bulk::CreateFlowsRequest::from(&pb::CreateFlowsRequest {
            message: Some(pb::create_flows_request::Message::Header(header)),
        });
        let rest = ReceiverStream::new(batches).map(move |batch| {
            ledger.sent(&batch.lines);
            batch.load.clone().into_create()
        });
        futures::stream::iter([first]).chain(rest)
    };
    let mut answers = session
        .change(session.flows().create_flows(requests))
        .await?;
    while let Some(answer) = session.next_event(&mut answers).await? {
        sink.send(ledger.accounted(answer)?).await?;
    }
    if ledger.is_settled() {
        Ok(())
    } else {
        Err(NodeError::Incomplete.into())
    }
}

/// Which line the items of a call come from, while the agent has not accounted for them.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    /// The lines of the items from `first` on.
    lines: VecDeque<u64>,
    first: u64,
}

impl Ledger {
    fn sent(&self, lines: &[u64]) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.lines.extend(lines);
    }

    fn accounted(&self, answer: pb::CreateFlowsResponse) -> Result<Accounted, NodeError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |what: &str| Err(NodeError::Answer(format!("it accounts for {what}")));
        let count = match usize::try_from(answer.count) {
            Ok(count) if count <= open.lines.len() => count,
            _ => return wrong("items that were not sent"),
        };
        if answer.first_index != open.first {
            return wrong("items out of their order");
        }
        let failures = failed_lines(answer.failures, open.first, open.lines.iter().take(count))?;
        open.lines.drain(..count);
        open.first += answer.count;
        Ok(Accounted {
            count: answer.count,
            spared: answer.spared,
            failures,
        })
    }

    fn is_settled(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .is_empty()
    }
}

/// The flow that the flags describe.
fn flow(tuple: &TupleArgs, parts: &PartArgs, mode: ModeName) -> Result<Flow, CommandError> {
    let orig = tuple.orig()?;
    if mode != ModeName::Update && parts.set_timeout.is_none() {
        return Err(CommandError::Usage(
            "a new flow needs --set-timeout SECONDS, after which it goes",
        ));
    }
    if mode == ModeName::Create && orig.protocol == Protocol::TCP && parts.state.is_none() {
        return Err(CommandError::Usage(
            "a new TCP flow needs its --state, like ESTABLISHED",
        ));
    }
    let mut flow = Flow::new(orig, reply(&orig, tuple, parts)?);
    flow.zone = tuple.zone();
    let changes = ChangeArgs {
        set_timeout: parts.set_timeout,
        set_status: parts.status.map(|bits| StatusBits {
            // A new flow is UNREPLIED unless it is said otherwise.
            clear: crate::flow::Status::default(),
            ..bits
        }),
        set_state: parts.state,
        set_vtags: parts.vtags,
        ..ChangeArgs::default()
    }
    .changes(Some(orig.protocol))?;
    flow.timeout = changes.timeout;
    flow.status = changes.status_set;
    flow.protoinfo = changes.protoinfo;
    flow.mark = match parts.mark {
        Some(MarkMask(Masked {
            value,
            mask: u32::MAX,
        })) => Some(value),
        Some(_) => return Err(CommandError::Usage("a new flow has a mark without a mask")),
        None => None,
    };
    flow.labels = parts.label.map(|LabelSet(Labels(labels))| Labels(labels));
    flow.helper = parts.helper.map(|name| Helper { name, info: None });
    Ok(flow)
}

/// The reply direction: the inverse of the original, then what is translated, then what was
/// given itself.
fn reply(orig: &Tuple, args: &TupleArgs, parts: &PartArgs) -> Result<Tuple, CommandError> {
    let mut reply = orig.inverse();
    let mut sport = None;
    let mut dport = None;
    if let Some(nat) = parts.src_nat {
        reply.dst = nat.address;
        dport = nat.port;
    }
    if let Some(nat) = parts.dst_nat {
        reply.src = nat.address;
        sport = nat.port;
    }
    reply.src = args.reply_src.unwrap_or(reply.src);
    reply.dst = args.reply_dst.unwrap_or(reply.dst);
    let (sport, dport) = (args.reply_port_src.or(sport), args.reply_port_dst.or(dport));
    match &mut reply.l4 {
        L4::Ports { src, dst } => {
            *src = sport.unwrap_or(*src);
            *dst = dport.unwrap_or(*dst);
        }
        _ if sport.is_some() || dport.is_some() => {
            return Err(CommandError::Usage(
                "this protocol has no ports to translate",
            ));
        }
        _ => {}
    }
    if reply.src.is_ipv4() != orig.src.is_ipv4() || reply.dst.is_ipv4() != orig.src.is_ipv4() {
        return Err(CommandError::Usage(
            "a flow is of one family: IPv4 is not translated to IPv6 here, nor the other way \
             round",
        ));
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::ctctl::args::Cli;
    use crate::ctctl::commands::Command;
    use crate::flow::{ProtoInfo, Status, TcpState};

    fn described(line: &str) -> Result<Flow, CommandError> {
        let words = ["ctctl", "create"]
            .into_iter()
            .chain(line.split_whitespace());
        match Cli::parse_from(words).command {
            Command::Create(args) => flow(&args.tuple, &args.parts, args.mode),
            other => panic!("{other:?}"),
        }
    }

    const TCP: &str = "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --set-timeout 60";

    #[test]
    fn a_flow_from_flags() {
        let flow = described(&format!(
            "{TCP} --state ESTABLISHED -u ASSURED -m 7 -l 3 -w 9"
        ));
        let flow = flow.unwrap();
        assert_eq!(flow.reply, flow.orig.inverse());
        assert_eq!(
            (flow.timeout, flow.mark, flow.zone.id),
            (Some(60), Some(7), 9)
        );
        assert_eq!(flow.status, Some(Status::ASSURED));
        assert_eq!(flow.labels, Some(Labels(1 << 3)));
        let Some(ProtoInfo::Tcp(tcp)) = flow.protoinfo else {
            panic!("{flow:?}");
        };
        assert_eq!(tcp.state, TcpState::from_name("ESTABLISHED"));
    }

    #[test]
    fn translation_is_seen_in_the_reply() {
        let udp = "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --set-timeout 60";
        let reply = |line: &str| described(&format!("{udp} {line}")).unwrap().reply;
        let both = reply("-n 192.0.2.1:1000 -g 192.0.2.2:2000");
        assert_eq!(both.dst.to_string(), "192.0.2.1");
        assert_eq!(both.src.to_string(), "192.0.2.2");
        assert_eq!(both.ports(), Some((2000, 1000)));
        let address = reply("-n 192.0.2.1");
        assert_eq!(address.ports(), Some((2, 1)));
        let given = reply("-r 192.0.2.2 -q 192.0.2.1 --reply-port-src 5 --reply-port-dst 6");
        assert_eq!((given.dst, given.ports()), (both.dst, Some((5, 6))));
        assert!(described(&format!("{udp} -n ::1")).is_err());
        assert!(described("-p 50 -s ::1 -d ::2 --set-timeout 1 -n [::3]:1").is_err());
    }

    #[test]
    fn what_the_kernel_needs_is_asked_for() {
        let words = |line: &str| described(line).unwrap_err().to_string();
        assert!(words(TCP).contains("--state"));
        assert!(words("-p 50 -s ::1 -d ::2").contains("--set-timeout"));
        assert!(described("-p 50 -s ::1 -d ::2 --mode update").is_ok());
        assert!(words(&format!("{TCP} --state CLOSE -m 1/1")).contains("without a mask"));
    }

    fn answer(first_index: u64, count: u64, failed: &[u64]) -> pb::CreateFlowsResponse {
        let failure = |index: &u64| pb::ItemFailure {
            index: *index,
            message: "no".into(),
            ..Default::default()
        };
        pb::CreateFlowsResponse {
            first_index,
            count,
            failures: failed.iter().map(failure).collect(),
            spared: 0,
        }
    }

    #[test]
    fn failures_find_their_lines_however_answers_are_cut() {
        let ledger = Ledger::default();
        ledger.sent(&[10, 11, 15]);
        let first = ledger.accounted(answer(0, 2, &[1])).unwrap();
        assert_eq!(
            (first.count, first.failures),
            (2, vec![(11, "no".to_owned())])
        );
        assert!(!ledger.is_settled());
        ledger.sent(&[16, 20]);
        let rest = ledger.accounted(answer(2, 3, &[2, 4])).unwrap();
        let lines: Vec<u64> = rest.failures.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [15, 20]);
        assert!(ledger.is_settled());
    }

    #[test]
    fn an_agent_that_accounts_for_anything_else_is_not_believed() {
        let believed = |answer| {
            let ledger = Ledger::default();
            ledger.sent(&[1, 2, 3]);
            ledger.accounted(answer).is_ok()
        };
        assert!(believed(answer(0, 3, &[0, 2])));
        assert!(!believed(answer(0, 4, &[])), "more than was sent");
        assert!(!believed(answer(1, 1, &[])), "not from the start");
        assert!(!believed(answer(0, 2, &[2])), "an item of the next answer");
        assert!(!believed(answer(0, u64::MAX, &[])));
        assert!(!believed(answer(0, 1, &[0, 0])), "an item twice");
        assert!(!believed(answer(0, 3, &[2, 0, 2])), "an item twice");
        assert!(believed(answer(0, 3, &[2, 0])), "in any order");
        assert!(!believed(answer(0, 3, &[u64::MAX])));
    }
}
