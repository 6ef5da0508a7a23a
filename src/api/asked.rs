//! What a request asks for, in the words of the audit log: for the line of one that is denied
//! after it was read.

use super::change::Options;
use super::record;
use crate::audit::{Intent, Target};
use crate::flow::Filter;
use crate::pb::{self, delete_expectations_request, delete_flows_request, update_flows_request};

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
        use delete_expectations_request::Target as Message;
        changing(intent, asked.options);
        match &asked.target {
            Some(Message::Keys(keys)) => named(intent, Target::Keys, keys.keys.len()),
            Some(Message::Ids(ids)) => named(intent, Target::Ids, ids.ids.len()),
            Some(Message::Filter(filter)) => matching(intent, Some(filter)),
            None => {}
        }
    };
    DeleteFlowsRequest: |asked, intent| {
        use delete_flows_request::Target as Message;
        changing(intent, asked.options);
        match &asked.target {
            Some(Message::Keys(keys)) => named(intent, Target::Keys, keys.keys.len()),
            Some(Message::Ids(ids)) => named(intent, Target::Ids, ids.ids.len()),
            Some(Message::Filter(filter)) => matching(intent, Some(filter)),
            None => {}
        }
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
    GetExpectationRequest: |asked, intent| {
        use pb::get_expectation_request::By;
        match asked.by {
            Some(By::Key(_)) => named(intent, Target::Keys, 1),
            Some(By::Id(_)) => named(intent, Target::Ids, 1),
            None => {}
        }
    };
    GetExpectationStatsRequest: |_, _| {};
    GetFlowRequest: |asked, intent| {
        use pb::get_flow_request::By;
        match asked.by {
            Some(By::Key(_)) => named(intent, Target::Keys, 1),
            Some(By::Id(_)) => named(intent, Target::Ids, 1),
            None => {}
        }
    };
    GetSettingsRequest: |_, intent| intent.target = Target::Settings;
    GetStatsRequest: |_, _| {};
    UpdateFlowsRequest: |asked, intent| {
        use update_flows_request::Target as Message;
        changing(intent, asked.options);
        match &asked.target {
            Some(Message::Keys(keys)) => named(intent, Target::Keys, keys.keys.len()),
            Some(Message::Ids(ids)) => named(intent, Target::Ids, ids.ids.len()),
            Some(Message::Filter(filter)) => matching(intent, Some(filter)),
            None => {}
        }
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
