//! The text of a filter: whatever can be read is printed in a form that reads the same, and
//! whatever cannot is an error of three lines.

use ctfleet::expr;

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
    let printed = expr::print(&filter);
    if printed.len() <= expr::MAX_LENGTH {
        assert_eq!(expr::parse(&printed), Ok(filter), "{printed}");
    }
}
