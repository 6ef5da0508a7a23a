//! The normal form: filters that say the same in different words become equal, as far as one
//! predicate and the shape of the tree go. It evaluates as the filter itself does.

use super::{Filter, NumberField, NumberRange, NumberType, Predicate};

impl Filter {
    /// The normal form:
    ///
    /// - no list of one, no list in a list of the same kind, no double negation, and
    ///   [`Filter::everything`] or [`Filter::nothing`] at the top or nowhere;
    /// - values sorted and without repetition, networks without host bits, number ranges
    ///   within the field's type and merged where they touch;
    /// - no mask that covers the whole number; a predicate that nothing can fulfil is
    ///   [`Filter::nothing`].
    #[must_use]
    pub fn normal(self) -> Self {
        match self {
            Self::And(filters) => {
                let mut list = Vec::with_capacity(filters.len());
                for filter in filters.into_iter().map(Self::normal) {
                    match filter {
                        Self::And(inner) => list.extend(inner),
                        Self::Or(inner) if inner.is_empty() => return Self::nothing(),
                        other => list.push(other),
                    }
                }
                sole(list, Self::And)
            }
            Self::Or(filters) => {
                let mut list = Vec::with_capacity(filters.len());
                for filter in filters.into_iter().map(Self::normal) {
                    match filter {
                        Self::Or(inner) => list.extend(inner),
                        Self::And(inner) if inner.is_empty() => return Self::everything(),
                        other => list.push(other),
                    }
                }
                sole(list, Self::Or)
            }
            Self::Not(filter) => match filter.normal() {
                Self::Not(inner) => *inner,
                Self::And(list) if list.is_empty() => Self::nothing(),
                Self::Or(list) if list.is_empty() => Self::everything(),
                other => Self::Not(Box::new(other)),
            },
            Self::Is(predicate) => predicate.normal(),
        }
    }
}

/// A list, unless it has one member.
fn sole(mut list: Vec<Filter>, kind: fn(Vec<Filter>) -> Filter) -> Filter {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            kind(list)
        }
        None => kind(list),
    }
}

impl Predicate {
    fn normal(self) -> Filter {
        match self {
            Self::Address(field, mut networks) => {
                networks
                    .iter_mut()
                    .for_each(|network| *network = network.trunc());
                networks.sort_unstable();
                networks.dedup();
                unless_empty(networks, |networks| Self::Address(field, networks))
            }
            Self::Number(field, mask, ranges) => normal_number(field, mask, ranges),
            Self::Labels { value, mask } => {
                if value.0 & !mask.0 != 0 {
                    Filter::nothing()
                } else if mask.0 == 0 {
                    Filter::everything()
                } else {
                    Filter::Is(self)
                }
            }
            Self::Text(field, mut values) => {
                values.sort_unstable();
                values.dedup();
                unless_empty(values, |values| Self::Text(field, values))
            }
            Self::Present(_) | Self::Translated(_) => Filter::Is(self),
        }
    }
}

/// The predicate of a list, which an empty one never fulfils.
fn unless_empty<T>(list: Vec<T>, predicate: impl FnOnce(Vec<T>) -> Predicate) -> Filter {
    if list.is_empty() {
        Filter::nothing()
    } else {
        Filter::Is(predicate(list))
    }
}

fn normal_number(field: NumberField, mask: Option<u64>, ranges: Vec<NumberRange>) -> Filter {
    let kind = field.number_type();
    let mask = mask
        .map(|mask| mask & kind.bits())
        // A full mask of a signed number would still turn negative values into positive ones.
        .filter(|&mask| mask != kind.bits() || kind == NumberType::I32);
    let possible = match mask {
        None => kind.range(),
        Some(mask) => NumberRange {
            min: 0,
            max: i64::try_from(mask).unwrap_or(i64::MAX),
        },
    };
    let ranges = merged(ranges, possible);
    // Every value that the mask can leave: all that counts is that there is a number.
    if mask.is_some() && ranges == [possible] {
        return Filter::Is(Predicate::Number(field, None, vec![kind.range()]));
    }
    unless_empty(ranges, |ranges| Predicate::Number(field, mask, ranges))
}

/// The ranges in ascending order, clipped to those that are possible and merged where they
/// overlap or touch.
fn merged(mut ranges: Vec<NumberRange>, possible: NumberRange) -> Vec<NumberRange> {
    for range in &mut ranges {
        range.min = range.min.max(possible.min);
        range.max = range.max.min(possible.max);
    }
    ranges.retain(|range| range.min <= range.max);
    ranges.sort_unstable_by_key(|range| range.min);
    ranges.dedup_by(|next, kept| {
        let touches = next.min <= kept.max.saturating_add(1);
        if touches {
            kept.max = kept.max.max(next.max);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Labels;
    use crate::flow::filter::{AddressField, PresenceField, TextField};

    fn leaf(n: i64) -> Filter {
        number(NumberField::Mark, None, &[(n, n)])
    }

    fn number(field: NumberField, mask: Option<u64>, ranges: &[(i64, i64)]) -> Filter {
        let ranges = ranges.iter().map(|&(min, max)| NumberRange { min, max });
        Filter::Is(Predicate::Number(field, mask, ranges.collect()))
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }

    #[test]
    fn the_shape_of_the_tree() {
        let (a, b, c) = (leaf(1), leaf(2), leaf(3));
        let (all, none) = (Filter::everything, Filter::nothing);
        let cases = [
            (Filter::And(vec![a.clone()]), a.clone()),
            (Filter::Or(vec![Filter::And(vec![a.clone()])]), a.clone()),
            (
                Filter::And(vec![a.clone(), Filter::And(vec![b.clone(), c.clone()])]),
                Filter::And(vec![a.clone(), b.clone(), c.clone()]),
            ),
            (
                Filter::Or(vec![Filter::Or(vec![a.clone(), b.clone()]), c.clone()]),
                Filter::Or(vec![a.clone(), b.clone(), c.clone()]),
            ),
            (Filter::And(vec![a.clone(), all()]), a.clone()),
            (Filter::And(vec![a.clone(), none()]), none()),
            (Filter::Or(vec![a.clone(), none()]), a.clone()),
            (Filter::Or(vec![a.clone(), all()]), all()),
            (not(not(a.clone())), a.clone()),
            (not(not(not(a.clone()))), not(a.clone())),
            (not(all()), none()),
            (not(Filter::And(vec![none(), a])), all()),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.clone().normal(), expected, "{filter:?}");
        }
    }

    #[test]
    fn numbers() {
        use NumberField as N;
        let cases = [
            // Sorted, merged, clipped.
            (
                number(
                    N::DstPort,
                    None,
                    &[(443, 443), (80, 80), (444, 500), (80, 82)],
                ),
                number(N::DstPort, None, &[(80, 82), (443, 500)]),
            ),
            (
                number(
                    N::DstPort,
                    None,
                    &[(i64::MIN, 5), (65_000, i64::MAX), (9, 8)],
                ),
                number(N::DstPort, None, &[(0, 5), (65_000, 65_535)]),
            ),
            (
                number(N::Bytes, None, &[(i64::MAX, i64::MAX), (-1, -1)]),
                number(N::Bytes, None, &[(i64::MAX, i64::MAX)]),
            ),
            (
                number(N::DstPort, None, &[(70_000, 80_000)]),
                Filter::nothing(),
            ),
            (number(N::DstPort, None, &[]), Filter::nothing()),
            // Masks.
            (
                number(N::Mark, Some(0xffff_ffff), &[(3, 3)]),
                number(N::Mark, None, &[(3, 3)]),
            ),
            (
                number(N::Mark, Some(0xf_0000_00f0), &[(0x10, 0x10)]),
                number(N::Mark, Some(0xf0), &[(0x10, 0x10)]),
            ),
            (
                number(N::Mark, Some(0xf0), &[(0, 0xf0)]),
                number(N::Mark, None, &[(0, 0xffff_ffff)]),
            ),
            (
                number(N::Timeout, Some(0), &[(0, 1)]),
                number(N::Timeout, None, &[(0, 0xffff_ffff)]),
            ),
            (number(N::Timeout, Some(0), &[(1, 2)]), Filter::nothing()),
            (
                number(N::Mark, Some(0xf0), &[(0x100, 0x100)]),
                Filter::nothing(),
            ),
            (
                number(N::SeqAdjOrigOffsetAfter, Some(u64::MAX), &[(-5, 5)]),
                number(N::SeqAdjOrigOffsetAfter, Some(u64::MAX), &[(0, 5)]),
            ),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.clone().normal(), expected, "{filter:?}");
        }
    }

    #[test]
    fn values() {
        let networks = |texts: &[&str]| {
            let networks = texts.iter().map(|text| text.parse().unwrap()).collect();
            Filter::Is(Predicate::Address(AddressField::Src, networks))
        };
        assert_eq!(
            networks(&["10.0.0.1/8", "10.2.0.0/8", "1.1.1.1/32"]).normal(),
            networks(&["1.1.1.1/32", "10.0.0.0/8"])
        );
        assert_eq!(networks(&[]).normal(), Filter::nothing());
        let texts = |texts: &[&str]| {
            let texts = texts.iter().map(|&text| text.into()).collect();
            Filter::Is(Predicate::Text(TextField::Helper, texts))
        };
        assert_eq!(
            texts(&["sip", "ftp", "sip"]).normal(),
            texts(&["ftp", "sip"])
        );
        assert_eq!(texts(&[]).normal(), Filter::nothing());
        let labels = |value, mask| {
            let (value, mask) = (Labels(value), Labels(mask));
            Filter::Is(Predicate::Labels { value, mask })
        };
        assert_eq!(labels(1, 3).normal(), labels(1, 3));
        assert_eq!(labels(4, 3).normal(), Filter::nothing());
        assert_eq!(labels(0, 0).normal(), Filter::everything());
        let present = Filter::Is(Predicate::Present(PresenceField::Master));
        assert_eq!(present.clone().normal(), present);
    }
}
