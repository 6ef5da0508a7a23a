//! A namespace's table as ctfleet reads it, and held against the witness.

use std::collections::BTreeMap;

use ctfleet::ctnetlink::{
    Batch, CreateMode, Error, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest,
    Namespace,
};
use ctfleet::flow::{Expectation, Filter, Flow};

use super::witness::Row;
use super::{Netns, until};

impl Netns {
    /// The namespace, as ctfleet names it.
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::named(self.name()).expect("a name")
    }

    /// The flows that a dump yields.
    pub(crate) fn flows(&self, filter: Option<Filter>) -> Vec<Flow> {
        let request = FlowDumpRequest {
            filter,
            ..FlowDumpRequest::default()
        };
        self.dump(request).expect("a dump")
    }

    /// The flows that this dump yields.
    pub(crate) fn dump(&self, request: FlowDumpRequest) -> Result<Vec<Flow>, Error> {
        let mut flows = Vec::new();
        let mut dump = FlowDump::open(&self.namespace(), request)?;
        while dump.read(&mut |flow| flows.push(flow.clone()))? {}
        assert_eq!(dump.counts().matched, flows.len() as u64);
        Ok(flows)
    }

    /// The expectations that a dump yields.
    pub(crate) fn expectations(&self, request: ExpectationDumpRequest) -> Vec<Expectation> {
        let mut found = Vec::new();
        let mut dump = ExpectationDump::open(&self.namespace(), request).expect("a dump");
        while dump
            .read(&mut |expectation| found.push(expectation.clone()))
            .expect("a datagram")
        {}
        found
    }

    /// Writes flows; panics with the kernel's answer when it refuses one.
    #[track_caller]
    pub(crate) fn create(&self, flows: &[Flow]) {
        let mut batch = Batch::open(&self.namespace()).expect("a socket");
        for chunk in flows.chunks(100) {
            for flow in chunk {
                batch.create(flow, CreateMode::Create).expect("encoded");
            }
            let committed = batch.commit().expect("an answer");
            assert_eq!(committed.count, chunk.len());
            if let Some((index, error)) = committed.failures.first() {
                panic!("{error}: {:?}", chunk[*index]);
            }
        }
    }

    /// Dumps the table and holds it against conntrack(8), entry by entry. Packets may be
    /// under way: what counts is a dump between two looks of the witness that are the same.
    pub(crate) fn witnessed_flows(&self) -> Vec<Flow> {
        until("the table to be at rest", || {
            let before = timeless(self.witness(""));
            let flows = self.flows(None);
            let after = timeless(self.witness(""));
            if before.rows != after.rows {
                return None;
            }
            let dumped = timeless(flows.iter().map(Row::of).collect());
            assert_eq!(dumped.rows, before.rows, "dumped, witnessed");
            for (id, timeout) in &dumped.timeouts {
                // The clock went on between the two.
                let witnessed = [before.timeouts[id], after.timeouts[id]];
                assert!(
                    (witnessed[1]..=witnessed[0]).contains(timeout),
                    "{id:?}: {timeout:?} dumped, {witnessed:?} witnessed"
                );
            }
            Some(flows)
        })
    }
}

/// Rows without what the clock changes, and that apart.
struct Timeless {
    rows: Vec<Row>,
    timeouts: BTreeMap<Option<u32>, Option<u32>>,
}

fn timeless(mut rows: Vec<Row>) -> Timeless {
    rows.sort();
    let timeouts = rows
        .iter_mut()
        .map(|row| (row.id, row.timeout.take()))
        .collect();
    Timeless { rows, timeouts }
}
