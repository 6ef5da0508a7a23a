//! An agent whose standard error nobody reads any more, while strangers make it say something.

use std::process::Command;
use std::time::{Duration, Instant};

use ctfleet::pb;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::pipe::Pipe;
use crate::harness::pki::{Authority, TlsAgent, tls_command_at};
use crate::harness::{Netns, until};

const PLACE: &str = "127.0.0.1:7443";

/// That of the agent, as it is by default.
const DRAIN: Duration = Duration::from_secs(10);

/// Speaks no TLS, and waits until the agent closes.
async fn stranger(mut peer: TcpStream) {
    peer.write_all(b"hello").await.expect("sent");
    let mut heard = Vec::new();
    let end = tokio::time::timeout(DRAIN, peer.read_to_end(&mut heard)).await;
    assert!(end.is_ok(), "still open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_neither_callers_nor_the_end() {
    let authority = Authority::new("ours");
    authority.enrol("operator");
    let pipe = Pipe::new();
    // The audit log goes there, too.
    let mut tls = TlsAgent::start_as(
        &authority,
        |files| pipe.behind(&tls_command_at(files, PLACE), PLACE),
        &[],
    );
    pipe.fill();
    // Each has a line of the log, and there are fewer threads.
    let strangers = (0..40).map(|_| stranger(tls.agent.connect(tls.ns())));
    join_all(strangers).await;

    tls.ask(&authority, "count").well();
    let refused = tls.ask(&authority, "flush --yes").failed(2);
    assert!(refused.contains("audit log"), "{refused}");
    tls.ask(&authority, "count").well();

    let told = Instant::now();
    tls.agent.terminate();
    let status = tls.agent.wait().await;
    let took = told.elapsed();
    assert!(status.success(), "{status}");
    assert!(took < DRAIN, "{took:?}");
    println!("SIGTERM with a log that nobody reads: exit 0 after {took:.1?}");
}

#[tokio::test]
async fn an_agent_starts_although_nobody_reads_its_log() {
    let ns = Netns::new();
    let pipe = Pipe::new();
    pipe.fill();
    let mut agent = Agent::start_as(&ns, &mut pipe.behind(&Command::new(CTAGENT), "none"));
    let mut flows = agent.flows();
    let counted = flows.count_flows(pb::CountFlowsRequest::default()).await;
    counted.expect("a count");
    agent.terminate();
    assert!(agent.wait().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_had_no_room_for_is_told_when_it_is_read_again() {
    const WORDS: &str = "lines of this log are missing here: nobody took them lines=";
    let ns = Netns::new();
    let pipe = Pipe::new();
    let mut command = Command::new(CTAGENT);
    command.args(["--log-level=trace", "--max-requests=1000000"]);
    let mut agent = Agent::start_as(&ns, &mut pipe.behind(&command, "none"));
    let mut flows = agent.flows();
    let mut count = async || {
        let counted = flows.count_flows(pb::CountFlowsRequest::default());
        let counted = tokio::time::timeout(DRAIN, counted).await;
        counted.expect("it does not wait").expect("a count");
    };
    // How much it says of a call, behind what it says of itself.
    const MEASURED: usize = 20;
    let mut said = String::new();
    for calls in [1, MEASURED] {
        said.clear();
        for _ in 0..calls {
            count().await;
        }
        until("what it says of a call", || {
            said += &pipe.empty();
            let answers = said.matches("send frame=Headers").count();
            (answers >= calls).then_some(())
        });
    }
    pipe.fill();
    // Twice what it keeps.
    for _ in 0..MEASURED * (2 << 20) / said.len() {
        count().await;
    }
    let mut said = String::new();
    let missing = until("the number of lines", || {
        said += &pipe.empty();
        let (_, number) = said.split_once(WORDS)?;
        number.split_once('\n')?.0.parse::<u64>().ok()
    });
    assert!(missing > 0);

    // The last words come, too.
    agent.terminate();
    until("its end", || {
        said += &pipe.empty();
        agent.process().ended()
    });
    said += &pipe.empty();
    let last = said.lines().last();
    println!("{missing} lines were missing, and the last one is {last:?}");
    assert!(said.contains("INFO ctfleet::agent: stopped\n"), "{last:?}");
    // Each line is whole.
    let mut lines = said.lines().filter(|line| !line.is_empty());
    let begins = |line: &str| line.starts_with("20") || line.starts_with('{');
    let odd = lines.find(|line| !begins(line));
    assert_eq!(odd, None);
}
