//! The part of the table that somebody may see and touch.

use std::fmt;

use crate::flow::filter::{AddressField, Matcher, NumberField, Predicate};
use crate::flow::{Filter, Flow};

/// A filter that is added to everything that a caller asks for.
///
/// It looks at tuples, zones and marks alone. These the kernel tells with every entry and
/// every event; what may be missing there (a label, a TCP state, a counter) would be taken
/// for something that the entry does not have, and `not` of it would show what it should hide.
#[derive(Clone, PartialEq, Eq)]
pub struct Scope {
    filter: Filter,
    matcher: Matcher,
    text: String,
}

/// A filter that cannot be a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{field}` cannot be in a scope, since not every event of the kernel tells it: a scope takes \
     addresses, ports, protocols, zones, marks, and the like"
)]
pub struct UnfitScope {
    /// The field, as the filter language names it.
    pub field: &'static str,
}

/// As it is written: the configuration is logged at start.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Scope {
    /// A scope of this filter; the text is how people wrote it.
    ///
    /// # Errors
    ///
    /// It looks at something that a flow's event may lack.
    pub fn new(filter: Filter, text: impl Into<String>) -> Result<Self, UnfitScope> {
        match filter.find(&mut unfit) {
            Some(field) => Err(UnfitScope { field }),
            None => Ok(Self {
                matcher: Matcher::of(&filter),
                filter,
                text: text.into(),
            }),
        }
    }

    /// Whether the flow is in it.
    pub fn admits(&self, flow: &Flow) -> bool {
        // The time matters to ages alone, which are no part of a scope.
        self.matcher.matches(flow, 0)
    }

    /// Whether the flow would be in it with this mark.
    pub fn admits_with_mark(&self, flow: &Flow, mark: u32) -> bool {
        let mut marked = Flow::new(flow.orig, flow.reply);
        marked.zone = flow.zone;
        marked.mark = Some(mark);
        self.admits(&marked)
    }

    /// What is in it and fits the filter.
    #[must_use]
    pub fn and(&self, filter: Option<Filter>) -> Filter {
        match filter {
            None => self.filter.clone(),
            Some(filter) => Filter::And(vec![self.filter.clone(), filter]),
        }
    }

    /// How people wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The field of a predicate that not every event has.
fn unfit(predicate: &Predicate) -> Option<&'static str> {
    match predicate {
        Predicate::Address(field, _) => match field {
            AddressField::Src
            | AddressField::Dst
            | AddressField::ReplySrc
            | AddressField::ReplyDst
            | AddressField::Any => None,
            other => Some(other.name()),
        },
        Predicate::Number(field, ..) => match field {
            NumberField::Family
            | NumberField::Protocol
            | NumberField::Zone
            | NumberField::ZoneDirection
            | NumberField::Mark
            | NumberField::SrcPort
            | NumberField::DstPort
            | NumberField::ReplySrcPort
            | NumberField::ReplyDstPort
            | NumberField::Port
            | NumberField::IcmpType
            | NumberField::IcmpCode
            | NumberField::IcmpId
            | NumberField::GreSrcKey
            | NumberField::GreDstKey
            | NumberField::GreReplySrcKey
            | NumberField::GreReplyDstKey => None,
            other => Some(other.name()),
        },
        Predicate::Labels { .. } => Some("labels"),
        Predicate::Text(field, _) => Some(field.name()),
        Predicate::Present(field) => Some(field.name()),
        Predicate::Translated(how) => Some(how.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::filter::{NumberRange, PresenceField, TextField, Translation};
    use crate::flow::{L4, Protocol, Tuple};

    fn mark(value: i64) -> Filter {
        let only = NumberRange {
            min: value,
            max: value,
        };
        Filter::Is(Predicate::Number(NumberField::Mark, None, vec![only]))
    }

    fn flow() -> Flow {
        let tuple = Tuple {
            src: "192.0.2.1".parse().unwrap(),
            dst: "192.0.2.2".parse().unwrap(),
            protocol: Protocol::UDP,
            l4: L4::Ports { src: 1, dst: 2 },
        };
        Flow::new(tuple, tuple.inverse())
    }

    #[test]
    fn a_scope_is_added_to_every_filter() {
        let scope = Scope::new(mark(5), "mark 5").unwrap();
        assert_eq!(scope.and(None), mark(5));
        let both = scope.and(Some(mark(6)));
        assert_eq!(both, Filter::And(vec![mark(5), mark(6)]));
        let mut flow = flow();
        assert!(!scope.admits(&flow));
        assert!(scope.admits_with_mark(&flow, 5));
        flow.mark = Some(5);
        assert!(scope.admits(&flow) && !scope.admits_with_mark(&flow, 0));
    }

    #[test]
    fn what_an_event_may_lack_is_no_part_of_a_scope() {
        let number = |field| Predicate::Number(field, None, Vec::new());
        for (predicate, field) in [
            (number(NumberField::TcpState), "tcp-state"),
            (number(NumberField::Timeout), "timeout"),
            (number(NumberField::Status), "status"),
            (number(NumberField::Bytes), "bytes"),
            (Predicate::Text(TextField::Helper, Vec::new()), "helper"),
            (Predicate::Present(PresenceField::Master), "master"),
            (Predicate::Translated(Translation::Src), "snat"),
            (
                Predicate::Address(AddressField::MasterSrc, Vec::new()),
                "master-src",
            ),
        ] {
            let inside = Filter::Or(vec![Filter::Not(Box::new(Filter::Is(predicate)))]);
            let refused = Scope::new(inside, "").unwrap_err();
            assert_eq!(refused, UnfitScope { field });
        }
    }
}
