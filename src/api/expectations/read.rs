//! DumpExpectations, GetExpectation and GetExpectationStats.

use tonic::{Code, Status};

use super::visible::{self, Visible};
use crate::api::agent::read_setting;
use crate::api::caller::Caller;
use crate::api::pull::{self, Messages, blocking};
use crate::api::withdrawal::Withdrawal;
use crate::api::{Context, request, status};
use crate::ctnetlink::{
    Conn, DumpCounts, Error, ExpectationDump, ExpectationDumpRequest, KernelError,
};
use crate::flow::filter::Kind;
use crate::flow::{ExpectationKey, ExpectationStats, FlowKey};
use crate::pb;
use crate::wire::At as _;

/// Expectations in a message: 200 to 300 bytes each.
const CHUNK: usize = 200;

/// Answers DumpExpectations.
pub(super) fn dump(
    context: &Context,
    caller: &Caller,
    message: pb::DumpExpectationsRequest,
) -> Result<Messages<pb::DumpExpectationsResponse>, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let filter = caller
        .bounds()
        .optional_filter(message.filter, Kind::Expectation)?;
    let master = message.master.map(FlowKey::try_from).transpose();
    let master = master.at("master").map_err(|error| status::field(&error))?;
    let permit = context.gate.enter(caller.identity())?;
    let ends = (context.drain.clone(), Some(Withdrawal::of(caller)));
    let caller = caller.clone();
    Ok(pull::stream(permit, ends, move |outlet| {
        let visible = Visible::of(&caller, &namespace).map_err(|e| status::netlink(&e))?;
        // Whether there is such a master is the kernel's to say to those alone who see it.
        if let Some(master) = &master {
            visible::see(&caller, &namespace, master)?;
        }
        let mut matched = 0;
        let request = ExpectationDumpRequest { filter, master };
        let mut dump =
            ExpectationDump::open(&namespace, request).map_err(|e| status::netlink(&e))?;
        let mut expectations = Vec::new();
        let mut more = true;
        while more {
            if outlet.is_draining() {
                return Err(status::stopping(&[]));
            }
            let read = dump.read(&mut |expectation| {
                if visible.shows(expectation) {
                    matched += 1;
                    expectations.push(pb::Expectation::from(expectation));
                }
            });
            more = read.map_err(|error| status::netlink(&error))?;
            if expectations.len() >= CHUNK || !(more || expectations.is_empty()) {
                outlet.send(pb::DumpExpectationsResponse {
                    expectations: std::mem::take(&mut expectations),
                    summary: None,
                })?;
            } else {
                outlet.check()?;
            }
        }
        let counts = caller.counts(DumpCounts {
            matched,
            ..dump.counts()
        });
        Ok(pb::DumpExpectationsResponse {
            expectations,
            summary: Some(pb::ExpectationDumpSummary {
                matched: counts.matched,
                scanned: counts.scanned,
                duplicates: counts.duplicates,
            }),
        })
    }))
}

/// Answers GetExpectation.
pub(super) async fn get(
    context: &Context,
    caller: &Caller,
    message: pb::GetExpectationRequest,
) -> Result<pb::GetExpectationResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let id = match request::required(message.by, "by")? {
        pb::get_expectation_request::By::Key(key) => {
            let key = ExpectationKey::try_from(key)
                .at("key")
                .map_err(|error| status::field(&error))?;
            // All of this comes before the kernel is asked: no refusal, and no time that it
            // takes, may tell of an expectation that the caller does not see.
            let permit = context.changes.enter(caller.identity())?;
            let (caller, inside) = (caller.clone(), namespace.clone());
            let visible = blocking(move || {
                let _permit = permit;
                Visible::of(&caller, &inside).map_err(|error| status::netlink(&error))
            });
            let visible = visible.await?;
            let read = async { Conn::open(&namespace).await?.get_expectation(&key).await };
            let expectation = read.await.map_err(|error| status::netlink(&error))?;
            if !key.names(&expectation) || !visible.shows(&expectation) {
                // One that expects the tuple among others.
                return Err(status::kernel(&KernelError::from_errno(libc::ENOENT)));
            }
            return Ok(pb::GetExpectationResponse {
                expectation: Some((&expectation).into()),
            });
        }
        pb::get_expectation_request::By::Id(id) => id,
    };
    let permit = context.changes.enter(caller.identity())?;
    let caller = caller.clone();
    let found = blocking(move || {
        let _permit = permit;
        let read = || {
            let visible = Visible::of(&caller, &namespace)?;
            let mut dump = ExpectationDump::open(&namespace, ExpectationDumpRequest::default())?;
            let mut found: Vec<pb::Expectation> = Vec::new();
            while dump.read(&mut |expectation| {
                // Two are as wrong as more.
                if expectation.id == Some(id) && found.len() < 2 && visible.shows(expectation) {
                    found.push(expectation.into());
                }
            })? {}
            Ok(found)
        };
        read().map_err(|error: Error| status::netlink(&error))
    })
    .await?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(expectation), None) => Ok(pb::GetExpectationResponse {
            expectation: Some(expectation),
        }),
        (None, _) => Err(Status::not_found(format!(
            "there is no expectation with id {id}"
        ))),
        (Some(_), Some(_)) => Err(status::own(
            Code::FailedPrecondition,
            "AMBIGUOUS_ID",
            format!("several expectations have id {id}: name the one by its tuple"),
            &[],
        )),
    }
}

/// Answers GetExpectationStats.
pub(super) async fn stats(
    caller: &Caller,
    message: pb::GetExpectationStatsRequest,
) -> Result<pb::GetExpectationStatsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    caller.unscoped("GetExpectationStats, which counts all of them,")?;
    let read = async { Conn::open(&namespace).await?.expectation_stats().await };
    let cpus = read.await.map_err(|error| status::netlink(&error))?;
    let max = blocking(move || Ok(read_setting(&namespace, "nf_conntrack_expect_max"))).await?;
    let mut total = ExpectationStats::default();
    for cpu in &cpus {
        total.add(&cpu.stats);
    }
    Ok(pb::GetExpectationStatsResponse {
        cpus: cpus.into_iter().map(Into::into).collect(),
        total: Some(total.into()),
        max,
    })
}
