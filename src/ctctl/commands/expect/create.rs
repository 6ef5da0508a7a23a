//! `ctctl expect create`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Args;

use crate::ctctl::args::expect::ExpectedArgs;
use crate::ctctl::args::tuple::TupleArgs;
use crate::ctctl::args::values::number32;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::bulk::{self, Accounted, BulkArgs, failed_lines};
use crate::ctctl::commands::create::ModeName;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Sink, Stop};
use crate::ctctl::feed::Feed;
use crate::flow::{EXPECT_FLAG_NAMES, Expectation, HelperName, L4, Tuple};
use crate::pb;

/// What to create.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The connection that expects the flow has to be there and to have a helper. \
                  A file has lines as `ctctl expect list -o save` writes them."
)]
pub struct CreateArgs {
    /// What happens to an expectation that exists; only its timeout can change
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeName::Create)]
    mode: ModeName,
    #[command(flatten)]
    bulk: BulkArgs,
    #[command(flatten)]
    expected: ExpectedArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// What an expectation has beside the expected flow.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The expectation")]
struct PartArgs {
    /// Expire so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    set_timeout: Option<u32>,
    /// Bits of the source that count [default: all]
    #[arg(long, value_name = "MASK")]
    mask_src: Option<IpAddr>,
    /// Bits of the source port that count: 0 for any port [default: all]
    #[arg(long, value_name = "MASK", value_parser = port_mask)]
    mask_port_src: Option<u16>,
    /// Source of the connection that expects it
    #[arg(short = 's', long, value_name = "IP", visible_alias = "orig-src")]
    src: Option<IpAddr>,
    /// Destination of the connection that expects it
    #[arg(short = 'd', long, value_name = "IP", visible_alias = "orig-dst")]
    dst: Option<IpAddr>,
    /// Source port of the connection that expects it
    #[arg(long, value_name = "PORT", visible_alias = "orig-port-src")]
    sport: Option<u16>,
    /// Destination port of the connection that expects it
    #[arg(long, value_name = "PORT", visible_alias = "orig-port-dst")]
    dport: Option<u16>,
    /// Helper's name [default: that of the connection]
    #[arg(long, value_name = "NAME")]
    helper: Option<HelperName>,
    /// Class within the helper
    #[arg(long, value_name = "CLASS")]
    class: Option<u32>,
    /// Flags: PERMANENT, INACTIVE, USERSPACE
    #[arg(long, value_name = "FLAGS", value_parser = flags)]
    flags: Option<u32>,
}

fn port_mask(text: &str) -> Result<u16, String> {
    number32(text)
        .ok()
        .and_then(|mask| u16::try_from(mask).ok())
        .ok_or_else(|| format!("{text:?} is not a mask from 0 to 0xffff"))
}

fn flags(text: &str) -> Result<u32, String> {
    text.split(',').map(str::trim).try_fold(0, |flags, name| {
        EXPECT_FLAG_NAMES
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(bit, _)| flags | bit)
            .ok_or_else(|| format!("{name:?} is not PERMANENT, INACTIVE or USERSPACE"))
    })
}

pub(super) async fn run(args: CreateArgs, context: &mut Context) -> Result<u8, CommandError> {
    let mode = match args.mode {
        ModeName::Create => pb::ExpectationCreateMode::Create,
        ModeName::Upsert => pb::ExpectationCreateMode::Upsert,
        ModeName::Update => pb::ExpectationCreateMode::Update,
    };
    let one = match (&args.bulk.file, args.expected.is_empty()) {
        (Some(_), true) => None,
        (Some(_), false) => {
            return Err(CommandError::Usage(
                "an expectation comes from --file or from flags, not both",
            ));
        }
        (None, true) => {
            return Err(CommandError::Usage(
                "create needs an expectation: its flow, the connection that expects it and \
                 --set-timeout, or --file FILE",
            ));
        }
        (None, false) => Some(expectation(&args.expected, &args.parts)?),
    };
    bulk::run(
        context,
        &args.bulk,
        one,
        "created",
        move |session, feed, sink| send(session, feed, sink, mode),
    )
    .await
}

async fn send(
    session: Session,
    feed: Feed<Expectation>,
    sink: Sink<Accounted>,
    mode: pb::ExpectationCreateMode,
) -> Result<(), Stop> {
    let Some(mut batches) = feed.take(session.target()) else {
        return Ok(());
    };
    while let Some(batch) = batches.recv().await {
        let request = pb::CreateExpectationsRequest {
            network_namespace: session.namespace(),
            expectations: batch.load.clone(),
            mode: mode.into(),
        };
        let mut client = session.expectations();
        let answer = session.change(client.create_expectations(request)).await?;
        sink.send(accounted(&batch.lines, answer.failures)?).await?;
    }
    Ok(())
}

fn accounted(lines: &[u64], failures: Vec<pb::ItemFailure>) -> Result<Accounted, NodeError> {
    Ok(Accounted {
        count: lines.len() as u64,
        spared: 0,
        failures: failed_lines(failures, 0, lines.iter())?,
    })
}

fn expectation(expected: &ExpectedArgs, parts: &PartArgs) -> Result<Expectation, CommandError> {
    let tuple = expected.tuple()?;
    let master = TupleArgs {
        proto: Some(tuple.protocol),
        src: parts.src,
        dst: parts.dst,
        sport: parts.sport,
        dport: parts.dport,
        ..TupleArgs::default()
    }
    .orig()?;
    if parts.set_timeout.is_none() {
        return Err(CommandError::Usage(
            "an expectation needs --set-timeout SECONDS, after which it goes",
        ));
    }
    let mut mask = full_mask(&tuple);
    if let Some(bits) = parts.mask_src {
        if bits.is_ipv4() != tuple.src.is_ipv4() {
            return Err(CommandError::Usage(
                "--mask-src is not of the family of --tuple-src",
            ));
        }
        mask.src = bits;
    }
    if let (Some(bits), L4::Ports { src, .. }) = (parts.mask_port_src, &mut mask.l4) {
        *src = bits;
    }
    Ok(Expectation {
        id: None,
        tuple,
        mask,
        master,
        zone: expected.zone.unwrap_or(0),
        timeout: parts.set_timeout,
        flags: parts.flags,
        class: parts.class,
        helper: parts.helper,
        function: None,
        nat: None,
    })
}

/// Every bit of the tuple counts.
fn full_mask(tuple: &Tuple) -> Tuple {
    let ones: IpAddr = match tuple.src {
        IpAddr::V4(_) => Ipv4Addr::BROADCAST.into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::MAX).into(),
    };
    let l4 = match tuple.l4 {
        L4::None => L4::None,
        L4::Ports { .. } => L4::Ports {
            src: u16::MAX,
            dst: u16::MAX,
        },
        L4::Icmp { .. } => L4::Icmp {
            kind: u8::MAX,
            code: u8::MAX,
            id: u16::MAX,
        },
        L4::Gre { .. } => L4::Gre {
            src: u16::MAX,
            dst: u16::MAX,
        },
    };
    Tuple {
        src: ones,
        dst: ones,
        protocol: tuple.protocol,
        l4,
    }
}
