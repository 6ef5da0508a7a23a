//! Flow types to bytes for the kernel: one function a request.
//!
//! A delete is only ever made from a [`FlowKey`](crate::flow::FlowKey) or an
//! [`ExpectationKey`](crate::flow::ExpectationKey), which cannot lack a tuple: a DELETE
//! without one is a flush. Flushes are functions of their own.

mod expectation;
mod flow;
mod request;
mod tuple;
mod writer;

pub use request::{
    create_expectation, create_flow, delete_expectation, delete_flow, dump_expectations,
    dump_flows, expectation_stats, flow_stats, flush_expectations, flush_flows, get_expectation,
    get_flow, table_size, update_flow,
};
pub use tuple::TupleFilter;

/// Whether a flow carries something that the kernel takes only for new entries:
/// translation, a master.
pub(super) fn only_for_new_entries(flow: &crate::flow::Flow) -> bool {
    flow::needs_nat(flow) || flow.master.is_some()
}
