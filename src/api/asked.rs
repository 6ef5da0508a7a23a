//! What a request asks for, in the words of the audit log: for the line of one that is denied
//! after it was read.

use super::change::Options;
use super::record;
use crate::audit::{Intent, Target};
use crate::flow::Filter;
use crate::pb;

/// A request that somebody may have no right to make.
pub(super) trait Asks {
    /// Where it is to be answered.
    fn network_namespace(&self) -> &str;

    /// Tells what it asks for.
    fn tell(&self, intent: &mut Intent);
}

macro_rules! asks {
    ($($message:ident: $tell:expr;)*) => {$(
        impl Asks for pb::$message {
            fn network_namespace(&self) -> &str {
                &self.network_namespace
            }

            fn tell(&self, intent: &mut Intent) {
                let tell: fn(&Self, &mut Intent) = $tell;
                tell(self, intent);
            }
        }
    )*};
}

/// What one entry is named by. The contract has the same choice for each message that has one.
macro_rules! one {
    ($intent:ident, $asked:ident, $message:ident) => {
        match &$asked.by {
            Some(pb::$message::By::Key(_)) => named($intent, Target::Keys, 1),
            Some(pb::$message::By::Id(_)) => named($intent, Target::Ids, 1),
            None => {}
        }
    };
}

/// What many entries are named by, the same way.
macro_rules! many {
    ($intent:ident, $asked:ident, $message:ident) => {
        match &$asked.target {
            Some(pb::$message::Target::Keys(keys)) => {
                named($intent, Target::Keys, keys.keys.len());
            }
            Some(pb::$message::Target::Ids(ids)) => named($intent, Target::Ids, ids.ids.len()),
            Some(pb::$message::Target::Filter(filter)) => matching($intent, Some(filter)),
            None => {}
        }
    };
}

asks! {
    CountFlowsRequest: |asked, intent| matching(intent, asked.filter.as_ref());
    CreateExpectationsRequest: |asked, intent| {
        changing(intent, None);
        named(intent, Target::Entries, asked.expectations.len());
    };
    CreateFlowsHeader: |asked, intent| {
        changing(intent, None);
        intent.include_own_connections = asked.include_own_connections;
        intent.target = Target::Entries;
    };
    DeleteExpectationsRequest: |asked, intent| {
        changing(intent, asked.options);
        many!(intent, asked, delete_expectations_request);
    };
    DeleteFlowsRequest: |asked, intent| {
        changing(intent, asked.options);
        many!(intent, asked, delete_flows_request);
    };
    DumpExpectationsRequest: |asked, intent| matching(intent, asked.filter.as_ref());
    DumpFlowsRequest: |asked, intent| {
        matching(intent, asked.filter.as_ref());
        if asked.zero_counters {
            changing(intent, None);
            intent.detail = Some("zero_counters".to_owned());
        }
    };
    FlushExpectationsRequest: |_, intent| {
        changing(intent, None);
        intent.target = Target::Everything;
    };
    FlushFlowsRequest: |asked, intent| {
        changing(intent, None);
        intent.include_own_connections = asked.include_own_connections;
        intent.target = Target::Everything;
    };
    GetExpectationRequest: |asked, intent| one!(intent, asked, get_expectation_request);
    GetExpectationStatsRequest: |_, _| {};
    GetFlowRequest: |asked, intent| one!(intent, asked, get_flow_request);
    GetSettingsRequest: |_, intent| intent.target = Target::Settings;
    GetStatsRequest: |_, _| {};
    UpdateFlowsRequest: |asked, intent| {
        changing(intent, asked.options);
        many!(intent, asked, update_flows_request);
    };
    UpdateSettingsRequest: |asked, intent| {
        changing(intent, None);
        named(intent, Target::Settings, asked.updates.len());
    };
    WatchExpectationsRequest: |asked, intent| matching(intent, asked.filter.as_ref());
    WatchFlowsRequest: |asked, intent| matching(intent, asked.filter.as_ref());
}

/// A change, with its options if it has some.
fn changing(intent: &mut Intent, options: Option<pb::ChangeOptions>) {
    let options = Options::from(options);
    intent.dry_run = Some(options.dry_run);
    intent.max_affected = options.max_affected;
    intent.include_own_connections = options.include_own;
}

fn named(intent: &mut Intent, target: Target, items: usize) {
    intent.target = target;
    intent.items = Some(items as u64);
}

/// What fits a filter, if there is one. One that cannot be read has no text.
fn matching(intent: &mut Intent, filter: Option<&pb::Filter>) {
    let Some(filter) = filter else { return };
    intent.target = Target::Filter;
    let filter = Filter::try_from(filter.clone()).ok();
    intent.filter = filter.as_ref().map(record::filter);
}
