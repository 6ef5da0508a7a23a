//! The order in which entries can be created: the kernel refuses a flow whose master it does
//! not have yet, and a saved table is in no order.

use std::collections::{HashSet, VecDeque};
use std::io::BufRead;

use super::{Entry, Reader, Saved, SavedError};

/// Entries as they come; flows that have a master are held back to the end, and come there
/// in an order in which each follows its master.
pub struct MastersFirst<R, T> {
    reader: Reader<R, T>,
    expected: VecDeque<Saved<T>>,
    sorted: bool,
}

impl<R: BufRead, T: Entry> Reader<R, T> {
    /// Yields each flow after its master. Only flows that have one are held in memory.
    pub fn masters_first(self) -> MastersFirst<R, T> {
        MastersFirst {
            reader: self,
            expected: VecDeque::new(),
            sorted: false,
        }
    }
}

impl<R: BufRead, T: Entry> Iterator for MastersFirst<R, T> {
    type Item = Result<Saved<T>, SavedError>;

    fn next(&mut self) -> Option<Self::Item> {
        for saved in &mut self.reader {
            match saved {
                Ok(saved) if saved.entry.master().is_some() => self.expected.push_back(saved),
                other => return Some(other),
            }
        }
        if !self.sorted {
            self.expected = by_generation(std::mem::take(&mut self.expected));
            self.sorted = true;
        }
        self.expected.pop_front().map(Ok)
    }
}

/// Those whose master is not among the others, then theirs, and so on.
fn by_generation<T: Entry>(mut held: VecDeque<Saved<T>>) -> VecDeque<Saved<T>> {
    let mut sorted = VecDeque::with_capacity(held.len());
    while !held.is_empty() {
        let waiting: HashSet<_> = held.iter().map(|saved| saved.entry.tuple()).collect();
        let waits = |saved: &Saved<T>| saved.entry.master().is_some_and(|m| waiting.contains(&m));
        let (later, now): (VecDeque<_>, VecDeque<_>) = held.into_iter().partition(waits);
        if now.is_empty() {
            // Flows that are masters of each other: no kernel has such; let it say so.
            sorted.extend(later);
            break;
        }
        sorted.extend(now);
        held = later;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;

    fn order(masters: &[(u16, Option<u16>)]) -> Vec<u64> {
        let text: String = masters
            .iter()
            .map(|(port, master)| {
                let comment = master.map_or(String::new(), |m| {
                    format!(
                        "# ctfleet: {{\"master\":{{\"protocol\":\"udp\",\"src\":\"10.0.0.1\",\
                         \"dst\":\"10.0.0.2\",\"sport\":{m},\"dport\":1}}}}"
                    )
                });
                format!(
                    "{comment}\n-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport {port} --dport 1\n"
                )
            })
            .collect();
        Reader::<_, Flow>::new(text.as_bytes())
            .masters_first()
            .map(|saved| saved.expect("a flow").line / 2)
            .collect()
    }

    #[test]
    fn a_master_comes_before_those_that_it_expected() {
        // 3 was expected by 2, 2 by 1.
        let chain = [
            (3, Some(2)),
            (9, Some(77)),
            (2, Some(1)),
            (1, None),
            (5, None),
        ];
        assert_eq!(order(&chain), [4, 5, 2, 3, 1]);
    }

    #[test]
    fn a_circle_comes_to_an_end() {
        assert_eq!(
            order(&[(1, Some(2)), (2, Some(1)), (3, Some(3))]),
            [1, 2, 3]
        );
    }
}
