//! The text of a filter: whatever can be read is printed in a form that reads the same, and
//! whatever cannot is an error of three lines.

use ctfleet::access::Scope;
use ctfleet::expr;
use ctfleet::flow::Filter;

use super::filter_message::samples;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let filter = match expr::parse(text) {
        Ok(filter) => filter,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            return;
        }
    };
    for flow in samples() {
        let normal = filter.clone().normal();
        assert_eq!(filter.matches(&flow, 9), normal.matches(&flow, 9));
    }
    if let Ok(scope) = Scope::new(filter.clone(), text) {
        hides(&scope, &filter);
    }
    let printed = expr::print(&filter);
    if printed.len() <= expr::MAX_LENGTH {
        assert_eq!(expr::parse(&printed), Ok(filter), "{printed}");
    }
}

/// Whatever somebody asks for, nothing beyond their scope is found.
fn hides(scope: &Scope, filter: &Filter) {
    for flow in samples() {
        let admitted = filter.matches(&flow, 9);
        assert_eq!(scope.admits(&flow), admitted);
        for asked in [Filter::everything(), Filter::Not(Box::new(filter.clone()))] {
            let wanted = asked.matches(&flow, 9);
            let found = scope.and(Some(asked)).matches(&flow, 9);
            assert_eq!(found, admitted && wanted);
        }
        assert_eq!(scope.and(None).matches(&flow, 9), admitted);
    }
}
