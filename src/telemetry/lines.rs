//! The lines that wait to be written, and the thread that writes them: whoever says something
//! waits for nobody. Where there is no room, lines are left out, and their number is said
//! where they would stand.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that wait: some thousand lines.
const ROOM: usize = 1 << 20;

/// Lines on their way to whoever reads them.
pub(super) struct Lines {
    state: Mutex<State>,
    room: usize,
    /// There is something to write.
    more: Condvar,
    /// Something was written.
    less: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// Entries that were handed over, and those that are done with.
    handed_over: u64,
    done: u64,
    /// Since when the thread has been writing one of them.
    busy: Option<Instant>,
}

enum Entry {
    Line(Vec<u8>),
    /// So many lines had no room here.
    LeftOut(u64),
}

impl Lines {
    /// None waits.
    pub(super) fn new() -> Self {
        Self::with_room(ROOM)
    }

    fn with_room(room: usize) -> Self {
        Self {
            state: Mutex::default(),
            room,
            more: Condvar::new(),
            less: Condvar::new(),
        }
    }

    /// Hands over a line, which brings its end along. Does not wait.
    pub(super) fn hand_over(&self, line: &[u8]) {
        let mut state = self.lock();
        let bytes = state.bytes;
        let fits = |room: usize| bytes == 0 || bytes + line.len() <= room;
        let entry = match state.waiting.back_mut() {
            // Until there is room for many: one number is better than one for every few lines.
            Some(Entry::LeftOut(count)) if !fits(self.room / 2) => {
                *count += 1;
                return;
            }
            _ if fits(self.room) => Entry::Line(line.to_vec()),
            _ => Entry::LeftOut(1),
        };
        state.bytes += entry.len();
        state.waiting.push_back(entry);
        state.handed_over += 1;
        drop(state);
        self.more.notify_one();
    }

    /// Waits until all that was handed over before is done with, or for so long; not at all
    /// where one line has taken as long already. Says whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        let all = state.handed_over;
        let deadline = Instant::now() + patience;
        while state.done < all {
            // One that hangs already has had its time.
            let hangs = state.busy.is_some_and(|since| since.elapsed() >= patience);
            let left = deadline.saturating_duration_since(Instant::now());
            if hangs || left.is_zero() {
                return false;
            }
            let woken = self.less.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Writes what is handed over, for ever.
    pub(super) fn write(&self, sink: &mut impl Sink) -> ! {
        let mut teller = Teller::default();
        loop {
            self.write_next(&mut teller, sink);
        }
    }

    /// Writes what waits now.
    pub(super) fn write_waiting(&self, sink: &mut impl Sink) {
        let mut teller = Teller::default();
        while !self.lock().waiting.is_empty() {
            self.write_next(&mut teller, sink);
        }
    }

    fn write_next(&self, teller: &mut Teller, sink: &mut impl Sink) {
        let mut state = self.lock();
        let entry = loop {
            match state.waiting.pop_front() {
                Some(entry) => break entry,
                None => {
                    let woken = self.more.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        state.bytes -= entry.len();
        state.busy = Some(Instant::now());
        drop(state);
        teller.tell(&entry, sink);
        let mut state = self.lock();
        state.busy = None;
        state.done += 1;
        drop(state);
        self.less.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn len(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::LeftOut(_) => 0,
        }
    }
}

/// Where the lines go.
pub(super) trait Sink {
    /// Writes a line.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// The line that says that so many are missing before it.
    fn missing(&self, lines: u64) -> Vec<u8>;
}

/// Knows what the reader was not told.
#[derive(Default)]
struct Teller {
    missing: u64,
}

impl Teller {
    fn tell(&mut self, entry: &Entry, sink: &mut impl Sink) {
        match entry {
            Entry::LeftOut(count) => {
                self.missing += count;
                self.tell_missing(sink);
            }
            Entry::Line(line) => {
                if !self.tell_missing(sink) || sink.write(line).is_err() {
                    self.missing += 1;
                }
            }
        }
    }

    fn tell_missing(&mut self, sink: &mut impl Sink) -> bool {
        if self.missing > 0 {
            let line = sink.missing(self.missing);
            if sink.write(&line).is_err() {
                return false;
            }
            self.missing = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Takes lines, or refuses them.
    #[derive(Default)]
    struct Paper {
        text: String,
        refuse: bool,
    }

    impl Sink for Paper {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            if self.refuse {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text += std::str::from_utf8(line).expect("text");
            Ok(())
        }

        fn missing(&self, lines: u64) -> Vec<u8> {
            format!("({lines} missing) ").into_bytes()
        }
    }

    fn hand_over(lines: &Lines, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            lines.hand_over(format!("{number:03} ").as_bytes());
        }
    }

    #[test]
    fn lines_without_room_are_counted_where_they_would_stand() {
        let lines = Lines::with_room(12);
        let mut paper = Paper::default();
        hand_over(&lines, 0..100);
        lines.write_waiting(&mut paper);
        assert_eq!(paper.text, "000 001 002 (97 missing) ");
        hand_over(&lines, 100..102);
        lines.write_waiting(&mut paper);
        hand_over(&lines, 102..106);
        lines.write_waiting(&mut paper);
        assert_eq!(
            paper.text,
            "000 001 002 (97 missing) 100 101 102 103 104 (1 missing) "
        );
        assert!(lines.flush(Duration::ZERO));
    }

    #[test]
    fn what_is_left_out_has_one_number_until_there_is_room_for_many() {
        let lines = Lines::with_room(16);
        let mut paper = Paper::default();
        let mut teller = Teller::default();
        hand_over(&lines, 0..5);
        for number in 5..9 {
            lines.write_next(&mut teller, &mut paper);
            hand_over(&lines, std::iter::once(number));
        }
        lines.write_waiting(&mut paper);
        assert_eq!(paper.text, "000 001 002 003 (3 missing) 007 008 ");
    }

    #[test]
    fn a_line_that_is_longer_than_the_room_is_written_when_it_comes_alone() {
        let lines = Lines::with_room(3);
        let mut paper = Paper::default();
        hand_over(&lines, 0..2);
        lines.write_waiting(&mut paper);
        assert_eq!(paper.text, "000 (1 missing) ");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_before_the_next_one_that_can() {
        let lines = Lines::new();
        let mut paper = Paper::default();
        let mut teller = Teller::default();
        for (number, refuse) in [false, true, true, false, false].into_iter().enumerate() {
            paper.refuse = refuse;
            hand_over(&lines, std::iter::once(number as u32));
            lines.write_next(&mut teller, &mut paper);
        }
        assert_eq!(paper.text, "000 (2 missing) 003 004 ");
    }

    /// Writes when it is told to.
    struct Hanging(Receiver<()>);

    impl Sink for Hanging {
        fn write(&mut self, _line: &[u8]) -> io::Result<()> {
            self.0.recv().map_err(io::Error::other)
        }

        fn missing(&self, _lines: u64) -> Vec<u8> {
            Vec::new()
        }
    }

    #[test]
    fn nobody_waits_for_what_hangs() {
        const PATIENCE: Duration = Duration::from_millis(50);
        let lines = Lines::with_room(1000);
        let (go_on, told) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut teller = Teller::default();
                let mut sink = Hanging(told);
                for _ in 0..2 {
                    lines.write_next(&mut teller, &mut sink);
                }
            });
            let begun = Instant::now();
            hand_over(&lines, 0..2);
            assert!(!lines.flush(PATIENCE));
            assert!(begun.elapsed() >= PATIENCE);
            // It hangs already, so that nothing is gained by waiting.
            while lines
                .lock()
                .busy
                .is_none_or(|since| since.elapsed() < PATIENCE)
            {
                std::thread::yield_now();
            }
            assert!(!lines.flush(PATIENCE));
            for _ in 0..2 {
                go_on.send(()).expect("it waits");
            }
            assert!(lines.flush(Duration::from_secs(20)));
        });
    }
}
