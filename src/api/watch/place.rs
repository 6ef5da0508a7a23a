//! Places of watches. A watch keeps its filter for as long as it lasts: one with many values
//! takes several, so that what all of them keep has a bound, too.

use tonic::Status;

use crate::access::Identity;
use crate::api::budget::{Budget, Part, Spent};
use crate::api::{share, status};
use crate::events::Error;
use crate::flow::Filter;

/// Values of a filter that one place has room for: some 100 KiB of them.
const VALUES: usize = 2048;

/// All places, and what each caller has of them.
#[derive(Clone)]
pub(in crate::api) struct Places {
    watchers: Budget,
    max: usize,
}

/// What a watch takes, until it is dropped.
pub(super) struct Place {
    _part: Part,
}

impl Places {
    /// So many.
    pub(in crate::api) fn new(max: usize) -> Self {
        Self {
            watchers: Budget::of(max),
            max,
        }
    }

    /// What a watch with this filter takes, or RESOURCE_EXHAUSTED. All that one caller may have
    /// is enough for any filter.
    pub(super) fn take(&self, caller: &Identity, filter: Option<&Filter>) -> Result<Place, Status> {
        let values = filter.map_or(0, Filter::values);
        let of_one = self.watchers.of_one();
        let places = (1 + values / VALUES).min(of_one);
        let mut part = self.watchers.part(caller);
        match part.grow(places) {
            Ok(()) => Ok(Place { _part: part }),
            Err(Spent { own, .. }) if own + places > of_one => {
                Err(share::too_large(caller, places, "max-watchers", of_one))
            }
            Err(_) => Err(status::events(&Error::TooManyWatchers { max: self.max })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::flow::filter::AddressField;

    fn of_values(count: u32) -> Filter {
        let addresses = (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(n)));
        Filter::address(AddressField::Src, addresses)
    }

    #[test]
    fn a_filter_of_many_values_takes_several() {
        let places = Places::new(16);
        let (greedy, other) = (Identity::of_process(1, 1, &[]), Identity::anonymous());
        let small = places.take(&greedy, None).expect("one place");
        // Five and five; the caller has twelve.
        let large = of_values(5 * VALUES as u32 - 1);
        let first = places.take(&greedy, Some(&large)).expect("five more");
        let _second = places.take(&greedy, Some(&large)).expect("and five");
        assert!(places.take(&greedy, Some(&large)).is_err());
        assert!(places.take(&other, Some(&large)).is_ok());
        drop(first);
        assert!(places.take(&greedy, Some(&large)).is_ok());
        drop(small);
    }

    #[test]
    fn none_is_too_large_for_who_has_nothing_else() {
        let places = Places::new(4);
        let caller = Identity::anonymous();
        let held = places.take(&caller, Some(&of_values(65_536)));
        assert!(held.is_ok());
        assert!(places.take(&caller, None).is_err());
    }
}
