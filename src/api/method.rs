//! Which role a call takes, and how its requests come.

use crate::access::Role;

/// The services of this API.
const OURS: &str = "/ctfleet.v1.";

/// The role of every method, by its path in HTTP/2.
const METHODS: [(&str, Role); 20] = [
    ("/ctfleet.v1.FlowService/DumpFlows", Role::Reader),
    ("/ctfleet.v1.FlowService/GetFlow", Role::Reader),
    ("/ctfleet.v1.FlowService/CountFlows", Role::Reader),
    ("/ctfleet.v1.FlowService/WatchFlows", Role::Reader),
    ("/ctfleet.v1.FlowService/GetStats", Role::Reader),
    ("/ctfleet.v1.FlowService/CreateFlows", Role::Operator),
    ("/ctfleet.v1.FlowService/UpdateFlows", Role::Operator),
    ("/ctfleet.v1.FlowService/DeleteFlows", Role::Operator),
    ("/ctfleet.v1.FlowService/FlushFlows", Role::Admin),
    (
        "/ctfleet.v1.ExpectationService/DumpExpectations",
        Role::Reader,
    ),
    (
        "/ctfleet.v1.ExpectationService/GetExpectation",
        Role::Reader,
    ),
    (
        "/ctfleet.v1.ExpectationService/WatchExpectations",
        Role::Reader,
    ),
    (
        "/ctfleet.v1.ExpectationService/GetExpectationStats",
        Role::Reader,
    ),
    (
        "/ctfleet.v1.ExpectationService/CreateExpectations",
        Role::Operator,
    ),
    (
        "/ctfleet.v1.ExpectationService/DeleteExpectations",
        Role::Operator,
    ),
    (
        "/ctfleet.v1.ExpectationService/FlushExpectations",
        Role::Admin,
    ),
    ("/ctfleet.v1.AgentService/GetInfo", Role::Reader),
    ("/ctfleet.v1.AgentService/ListNamespaces", Role::Reader),
    // They count the whole table, and are the host's.
    ("/ctfleet.v1.AgentService/GetSettings", Role::Admin),
    ("/ctfleet.v1.AgentService/UpdateSettings", Role::Admin),
];

/// The role that a call of this path takes. What is not this API's (health, reflection) is
/// for every caller who has a role at all; a method that has no row is for nobody less than
/// an admin.
pub(super) fn role(path: &str) -> Role {
    let row = METHODS.iter().find(|(known, _)| *known == path);
    match row {
        Some((_, role)) => *role,
        None if is_ours(path) => Role::Admin,
        None => Role::Reader,
    }
}

/// Whether a path is of this API.
pub(super) fn is_ours(path: &str) -> bool {
    path.starts_with(OURS)
}

/// How the requests of a call come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    /// There is one, which is to come at once.
    One,
    /// A stream of flows, which may last.
    Flows,
    /// A stream of small questions, each with its answer.
    Questions,
}

/// How those of a call of this path come.
pub(super) fn requests(path: &str) -> Requests {
    match path {
        "/ctfleet.v1.FlowService/CreateFlows" => Requests::Flows,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" => Requests::Questions,
        _ => Requests::One,
    }
}

/// The name of a path's method.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_of_the_contract_has_its_role() {
        let mut contract = BTreeSet::new();
        for (service, text) in [
            (
                "FlowService",
                include_str!("../../proto/ctfleet/v1/flow_service.proto"),
            ),
            (
                "ExpectationService",
                include_str!("../../proto/ctfleet/v1/expectation_service.proto"),
            ),
            (
                "AgentService",
                include_str!("../../proto/ctfleet/v1/agent_service.proto"),
            ),
        ] {
            let methods = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("rpc "));
            contract.extend(methods.map(|method| {
                let (name, _) = method.split_once('(').expect("a method");
                format!("{OURS}{service}/{name}")
            }));
        }
        let known: BTreeSet<_> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(known, contract);
    }

    #[test]
    fn only_the_creation_of_flows_has_more_than_one_request() {
        let text = concat!(
            include_str!("../../proto/ctfleet/v1/flow_service.proto"),
            include_str!("../../proto/ctfleet/v1/expectation_service.proto"),
            include_str!("../../proto/ctfleet/v1/agent_service.proto"),
        );
        let streamed = text.lines().filter(|line| line.contains("(stream "));
        let streamed: Vec<_> = streamed
            .filter(|line| !line.contains("returns (stream") || line.matches("(stream").count() > 1)
            .collect();
        assert_eq!(streamed.len(), 1, "{streamed:?}");
        assert!(streamed[0].contains("CreateFlows"));
        let creation = "/ctfleet.v1.FlowService/CreateFlows";
        assert_eq!(requests(creation), Requests::Flows);
        let rest = METHODS.iter().filter(|(path, _)| *path != creation);
        for (path, _) in rest {
            assert_eq!(requests(path), Requests::One, "{path}");
        }
    }

    #[test]
    fn what_nobody_thought_of_is_for_admins() {
        assert_eq!(role("/ctfleet.v1.FlowService/DropEverything"), Role::Admin);
        assert_eq!(role("/grpc.health.v1.Health/Check"), Role::Reader);
        assert_eq!(role("/ctfleet.v1.FlowService/FlushFlows"), Role::Admin);
    }
}
