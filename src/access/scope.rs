//! The part of the table that somebody may see and touch.

use std::fmt;

use crate::flow::filter::{AddressField, Matcher, NumberField, NumberRange, Predicate};
use crate::flow::{Filter, Flow};

/// A filter that is added to everything that a caller asks for.
///
/// It looks at tuples, zones and marks alone. These the kernel tells with every entry and
/// every event; what may be missing there (a label, a TCP state, a counter) would be taken
/// for something that the entry does not have, and `not` of it would show what it should hide.
///
/// A flow whose zone counts in one direction only lies in zone 0 with the other. So a scope
/// that looks at zones has none of these, unless it speaks of directions itself.
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
            None => {
                let filter = whole(filter);
                Ok(Self {
                    matcher: Matcher::of(&filter),
                    filter,
                    text: text.into(),
                })
            }
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

/// The filter without flows that may lie in a zone of it with half of their packets alone.
fn whole(filter: Filter) -> Filter {
    let looks_at = |wanted| {
        let mut look = |predicate: &Predicate| match predicate {
            Predicate::Number(field, ..) if *field == wanted => Some(()),
            _ => None,
        };
        filter.find(&mut look).is_some()
    };
    if !looks_at(NumberField::Zone) || looks_at(NumberField::ZoneDirection) {
        return filter;
    }
    let both = NumberRange { min: 0, max: 0 };
    let both = Predicate::Number(NumberField::ZoneDirection, None, vec![both]);
    Filter::And(vec![filter, Filter::Is(both)])
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
    use crate::flow::filter::{PresenceField, TextField, Translation};
    use crate::flow::{L4, Protocol, Tuple, Zone, ZoneDirection};

    fn is(field: NumberField, value: i64) -> Filter {
        let only = NumberRange {
            min: value,
            max: value,
        };
        Filter::Is(Predicate::Number(field, None, vec![only]))
    }

    fn mark(value: i64) -> Filter {
        is(NumberField::Mark, value)
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
    fn a_flow_with_half_of_it_in_zone_0_lies_in_no_scope_of_zones() {
        use ZoneDirection::{Both, Orig, Reply};
        let zone = || is(NumberField::Zone, 5);
        let either = |filters| Filter::Or(filters);
        let directed = is(NumberField::ZoneDirection, 1);
        for (filter, id, admitted) in [
            (zone(), 5, vec![Both]),
            (either(vec![mark(9), zone()]), 5, vec![Both]),
            (Filter::Not(Box::new(zone())), 6, vec![Both]),
            (either(vec![mark(9), mark(0)]), 5, vec![Both, Orig, Reply]),
            // Who speaks of directions has what they say.
            (Filter::And(vec![zone(), directed]), 5, vec![Orig]),
        ] {
            let scope = Scope::new(filter, "").unwrap();
            for direction in [Both, Orig, Reply] {
                let mut flow = flow();
                flow.zone = Zone { id, direction };
                let expected = admitted.contains(&direction);
                assert_eq!(scope.admits(&flow), expected, "{flow:?}");
                assert_eq!(scope.and(None).matches(&flow, 0), expected);
            }
        }
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
