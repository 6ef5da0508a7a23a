//! Sets of values as sorted spans.

/// Spans from a smallest to a largest value, both included, that neither overlap nor are out of
/// order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spans<T>(Box<[(T, T)]>);

impl<T: Ord + Copy> Spans<T> {
    /// Whether the value lies in one of them.
    pub(super) fn contain(&self, value: T) -> bool {
        let begun = self.0.partition_point(|(min, _)| *min <= value);
        self.0[..begun].last().is_some_and(|(_, max)| value <= *max)
    }
}

impl<T: Ord + Copy> FromIterator<(T, T)> for Spans<T> {
    /// In any order, overlapping or not. One that ends before it begins holds nothing.
    fn from_iter<I: IntoIterator<Item = (T, T)>>(spans: I) -> Self {
        let mut sorted: Vec<_> = spans.into_iter().filter(|(min, max)| min <= max).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
        for (min, max) in sorted {
            match merged.last_mut() {
                Some((_, end)) if min <= *end => *end = max.max(*end),
                _ => merged.push((min, max)),
            }
        }
        Self(merged.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_that_overlap_are_one() {
        let spans: Spans<u8> = [(5, 9), (1, 3), (3, 4), (8, 7), (6, 7), (20, 255)]
            .into_iter()
            .collect();
        assert_eq!(*spans.0, [(1, 4), (5, 9), (20, 255)]);
        assert!(!Spans::from_iter([]).contain(0_u8));
    }

    proptest! {
        #[test]
        fn they_contain_what_one_of_them_contains(
            spans in proptest::collection::vec(any::<(i8, i8)>(), 0..8),
            value: i8,
        ) {
            let expected = spans.iter().any(|(min, max)| (min..=max).contains(&&value));
            prop_assert_eq!(spans.into_iter().collect::<Spans<_>>().contain(value), expected);
        }
    }
}
