//! Short words for filters.

use ctfleet::flow::Filter;
use ctfleet::flow::filter::{AddressField, NumberField, NumberRange, Predicate};

/// The field has this value.
pub(crate) fn is(field: NumberField, value: i64) -> Filter {
    number(field, None, value)
}

/// The field has one of these values.
pub(crate) fn between(field: NumberField, values: std::ops::RangeInclusive<i64>) -> Filter {
    let (min, max) = values.into_inner();
    Filter::Is(Predicate::Number(
        field,
        None,
        vec![NumberRange { min, max }],
    ))
}

/// The field has this value in the bits of the mask.
pub(crate) fn masked(field: NumberField, value: i64, mask: u64) -> Filter {
    number(field, Some(mask), value)
}

fn number(field: NumberField, mask: Option<u64>, value: i64) -> Filter {
    let range = NumberRange {
        min: value,
        max: value,
    };
    Filter::Is(Predicate::Number(field, mask, vec![range]))
}

/// The address lies in this network.
pub(crate) fn within(field: AddressField, network: &str) -> Filter {
    let network = network.parse().expect("a network");
    Filter::Is(Predicate::Address(field, vec![network]))
}

/// The filter does not hold.
pub(crate) fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}
