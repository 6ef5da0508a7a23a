//! The bounded ring: numbered events in shared batches, and positions that read it.
//!
//! The ring knows neither netlink nor what an event is. One writer appends a batch at a
//! time; any number of readers hold a [`Position`] each and share the batches, so that one
//! more reader costs no copy. Nothing disappears in silence: what a position can no longer
//! read, and what was lost before it reached the ring, comes out of [`Ring::read`] as a
//! number.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Events that arrived together, numbered without holes.
#[derive(Debug)]
pub struct Batch<T> {
    /// The sequence number of the first event.
    first: u64,
    /// How many events the source had lost when the first of these arrived.
    lost_before: u64,
    /// Never empty.
    events: Box<[T]>,
}

impl<T> Batch<T> {
    /// The sequence number that follows the last event.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// A run of events in the ring, shared with every other reader.
#[derive(Debug)]
pub struct Slice<T> {
    batch: Arc<Batch<T>>,
    from: usize,
}

impl<T> Slice<T> {
    /// The events from `index` on, each with its sequence number.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = (u64, &T)> {
        let start = self.from + index;
        let first = self.batch.first + start as u64;
        (first..).zip(self.batch.events.get(start..).unwrap_or_default())
    }

    /// The events, each with its sequence number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.iter_from(0)
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.batch.events.len() - self.from
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence numbers of its events.
    pub fn sequences(&self) -> Range<u64> {
        self.batch.first + self.from as u64..self.batch.end()
    }
}

/// What a reader gets next.
#[derive(Debug)]
pub enum Read<T> {
    /// Events.
    Events(Slice<T>),
    /// The ring overwrote events that this position had not read.
    Overrun {
        /// How many.
        lost: u64,
        /// The sequence number of the oldest event that is left.
        next: u64,
    },
    /// Events were lost before they reached the ring.
    Lost {
        /// How many.
        lost: u64,
        /// The sequence number of the first event after the loss.
        next: u64,
    },
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The sequence number that it reads next.
    next: u64,
    /// How many losses of the source it has been told.
    lost: u64,
}

impl Position {
    /// The sequence number of the last event before it.
    pub fn sequence(self) -> u64 {
        self.next - 1
    }
}

/// The last events, bounded in number.
#[derive(Debug)]
pub struct Ring<T> {
    batches: VecDeque<Arc<Batch<T>>>,
    capacity: usize,
    held: usize,
    /// The sequence number that the next event gets; the first is 1.
    next: u64,
    /// How many events the source lost so far.
    lost: u64,
    /// `lost` when the event before the oldest one in the ring arrived.
    lost_before_oldest: u64,
}

impl<T> Ring<T> {
    /// A ring that holds `capacity` events. The newest batch is always held whole, also
    /// when it alone is larger.
    pub fn new(capacity: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            capacity,
            held: 0,
            next: 1,
            lost: 0,
            lost_before_oldest: 0,
        }
    }

    /// Numbers events and appends them. Returns the batches that had to go: the writer
    /// drops them, and so frees their events, after it let go of the ring's lock.
    #[must_use = "drop it after the lock of the ring is released"]
    pub fn push(&mut self, events: Box<[T]>) -> Vec<Arc<Batch<T>>> {
        let mut evicted = Vec::new();
        if events.is_empty() {
            return evicted;
        }
        self.held += events.len();
        let batch = Batch {
            first: self.next,
            lost_before: self.lost,
            events,
        };
        self.next = batch.end();
        self.batches.push_back(Arc::new(batch));
        while self.held > self.capacity && self.batches.len() > 1 {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.held -= oldest.events.len();
            self.lost_before_oldest = oldest.lost_before;
            evicted.push(oldest);
        }
        evicted
    }

    /// Notes that the source lost events after the last one that was pushed.
    pub fn lose(&mut self, count: u64) {
        self.lost += count;
    }

    /// The position of a reader that wants only what comes from now on.
    pub fn tail(&self) -> Position {
        Position {
            next: self.next,
            lost: self.lost,
        }
    }

    /// The position of a reader that has had everything up to and including `sequence`;
    /// `None` when what follows it is no longer there, or was never numbered. A loss
    /// right after `sequence` is told again, since the reader may not know of it.
    pub fn after(&self, sequence: u64) -> Option<Position> {
        let oldest = self.batches.front().map_or(self.next, |batch| batch.first);
        let next = sequence.checked_add(1)?;
        if next < oldest || next > self.next {
            return None;
        }
        let lost = match self.holding(sequence) {
            Some(batch) => batch.lost_before,
            None => self.lost_before_oldest,
        };
        Some(Position { next, lost })
    }

    /// What comes at a position, which moves behind it; `None` when all has been read.
    pub fn read(&self, position: &mut Position) -> Option<Read<T>> {
        let oldest = self.batches.front().map_or(self.next, |batch| batch.first);
        if position.next < oldest {
            let lost = oldest - position.next;
            position.next = oldest;
            return Some(Read::Overrun { lost, next: oldest });
        }
        let batch = self.holding(position.next);
        let lost_here = batch.map_or(self.lost, |batch| batch.lost_before);
        if lost_here > position.lost {
            let lost = lost_here - position.lost;
            position.lost = lost_here;
            return Some(Read::Lost {
                lost,
                next: position.next,
            });
        }
        let batch = Arc::clone(batch?);
        let from = usize::try_from(position.next - batch.first).unwrap_or(usize::MAX);
        position.next = batch.end();
        Some(Read::Events(Slice { batch, from }))
    }

    /// The batch with the event of this number.
    fn holding(&self, sequence: u64) -> Option<&Arc<Batch<T>>> {
        let index = self
            .batches
            .partition_point(|batch| batch.end() <= sequence);
        self.batches
            .get(index)
            .filter(|batch| batch.first <= sequence)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn push(ring: &mut Ring<u64>, count: u64) {
        let events: Vec<u64> = (ring.next..ring.next + count).collect();
        drop(ring.push(events.into()));
    }

    /// What a reader gets until nothing is left: runs of sequence numbers, and losses.
    #[derive(Debug, PartialEq, Eq)]
    enum Got {
        Events(Range<u64>),
        Overrun(u64, u64),
        Lost(u64, u64),
    }

    fn drain(ring: &Ring<u64>, position: &mut Position) -> Vec<Got> {
        std::iter::from_fn(|| ring.read(position))
            .map(|read| match read {
                Read::Events(slice) => {
                    assert!(slice.iter().all(|(sequence, event)| sequence == *event));
                    assert_eq!(slice.iter().count(), slice.len());
                    assert!(!slice.is_empty());
                    Got::Events(slice.sequences())
                }
                Read::Overrun { lost, next } => Got::Overrun(lost, next),
                Read::Lost { lost, next } => Got::Lost(lost, next),
            })
            .collect()
    }

    #[test]
    fn a_reader_gets_what_comes_after_it() {
        let mut ring = Ring::new(100);
        push(&mut ring, 3);
        let mut position = ring.tail();
        assert_eq!(position.sequence(), 3);
        assert_eq!(drain(&ring, &mut position), []);
        push(&mut ring, 2);
        push(&mut ring, 1);
        assert_eq!(
            drain(&ring, &mut position),
            [Got::Events(4..6), Got::Events(6..7)]
        );
        assert_eq!(drain(&ring, &mut position), []);
    }

    #[test]
    fn an_overrun_is_counted_exactly() {
        let mut ring = Ring::new(10);
        let mut position = ring.tail();
        for _ in 0..7 {
            push(&mut ring, 3);
        }
        // 21 events; the last three batches fit.
        assert_eq!(
            drain(&ring, &mut position),
            [
                Got::Overrun(12, 13),
                Got::Events(13..16),
                Got::Events(16..19),
                Got::Events(19..22)
            ]
        );
    }

    #[test]
    fn the_newest_batch_stays_however_large() {
        let mut ring = Ring::new(2);
        let mut position = ring.tail();
        push(&mut ring, 2);
        push(&mut ring, 5);
        assert_eq!(
            drain(&ring, &mut position),
            [Got::Overrun(2, 3), Got::Events(3..8)]
        );
    }

    #[test]
    fn a_loss_keeps_its_place() {
        let mut ring = Ring::new(100);
        let mut position = ring.tail();
        push(&mut ring, 2);
        ring.lose(5);
        push(&mut ring, 1);
        ring.lose(1);
        ring.lose(2);
        assert_eq!(
            drain(&ring, &mut position),
            [
                Got::Events(1..3),
                Got::Lost(5, 3),
                Got::Events(3..4),
                Got::Lost(3, 4)
            ]
        );
        // A late reader is not told of losses before its time.
        let mut late = ring.tail();
        push(&mut ring, 1);
        assert_eq!(drain(&ring, &mut late), [Got::Events(4..5)]);
        assert_eq!(drain(&ring, &mut position), [Got::Events(4..5)]);
    }

    #[test]
    fn losses_in_what_was_overwritten_are_told_too() {
        let mut ring = Ring::new(4);
        let mut position = ring.tail();
        push(&mut ring, 3);
        ring.lose(7);
        push(&mut ring, 2);
        push(&mut ring, 2);
        assert_eq!(
            drain(&ring, &mut position),
            [
                Got::Overrun(3, 4),
                Got::Lost(7, 4),
                Got::Events(4..6),
                Got::Events(6..8)
            ]
        );
    }

    #[test]
    fn resuming_continues_behind_an_event_or_not_at_all() {
        let mut ring = Ring::new(6);
        assert_eq!(ring.after(1), None, "not numbered yet");
        let mut start = ring.after(0).expect("the beginning of an empty ring");
        push(&mut ring, 4);
        assert_eq!(drain(&ring, &mut start), [Got::Events(1..5)]);
        ring.lose(1);
        push(&mut ring, 4);
        // 1 to 4 are gone, 5 to 8 are there.
        assert_eq!(ring.after(3), None);
        let mut behind = ring.after(4).expect("5 is there");
        assert_eq!(
            drain(&ring, &mut behind),
            [Got::Lost(1, 5), Got::Events(5..9)]
        );
        let mut within = ring.after(6).expect("7 is there");
        assert_eq!(drain(&ring, &mut within), [Got::Events(7..9)]);
        let mut end = ring.after(8).expect("the end");
        assert_eq!(drain(&ring, &mut end), []);
        assert_eq!(ring.after(9), None);
        assert_eq!(ring.after(u64::MAX), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Lose(u64),
        Read(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        vec(
            prop_oneof![
                (1..9_u64).prop_map(Step::Push),
                (1..9_u64).prop_map(Step::Lose),
                (0..3_usize).prop_map(Step::Read),
            ],
            0..200,
        )
    }

    proptest! {
        /// Whatever the pace of the readers: what each of them got and what it was told to
        /// have lost add up to what there was, in order.
        #[test]
        fn nothing_disappears_in_silence(steps in steps(), capacity in 1..40_usize) {
            let mut ring = Ring::new(capacity);
            let mut readers = [(ring.tail(), 1_u64, 0_u64); 3];
            let mut source_lost = 0;
            let finish = (0..3).map(Step::Read).collect();
            for step in [steps, finish].concat() {
                match step {
                    Step::Push(count) => push(&mut ring, count),
                    Step::Lose(count) => {
                        source_lost += count;
                        ring.lose(count);
                    }
                    Step::Read(reader) => {
                        let (position, expected, told) = &mut readers[reader];
                        for got in drain(&ring, position) {
                            match got {
                                Got::Events(range) => {
                                    prop_assert_eq!(range.start, *expected);
                                    *expected = range.end;
                                }
                                Got::Overrun(lost, next) => {
                                    *expected += lost;
                                    prop_assert_eq!(next, *expected);
                                }
                                Got::Lost(lost, next) => {
                                    *told += lost;
                                    prop_assert_eq!(next, *expected);
                                }
                            }
                        }
                        prop_assert_eq!(*expected, ring.next);
                        prop_assert_eq!(*told, source_lost);
                    }
                }
                prop_assert!(ring.held <= capacity.max(8));
            }
        }
    }
}
