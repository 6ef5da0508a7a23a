//! Looks at the HTTP/2 frames that a client sends, as they are read: whether it has greeted,
//! whether it has begun a header block and not ended it, and whether it floods the agent with
//! frames that carry nothing. h2 answers PING and SETTINGS for as long as they come.

use tokio::time::Instant;

/// "PRI * HTTP/2.0...", before the first frame.
const PREFACE: u32 = 24;
/// A frame's length, type, flags and stream (RFC 9113, section 4.1).
const HEADER: usize = 9;

/// Frame types (RFC 9113, section 6).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client may spend at once on frames that carry nothing, and what it gets in a second:
/// 10,000 PINGs, and then 1,000 a second. grpc-go sends one for each round trip of a download
/// to learn the bandwidth, which over loopback is some thousands a second; see [`WRITTEN`].
const PURSE: u32 = 40_000;
const INCOME: u32 = 4_000;
/// So many bytes that the client was sent give it one more: who downloads has to say
/// something now and then. An answer to a PING gives one, and costs [`COST_PING`].
const WRITTEN: u64 = 16;
/// A PING, or anything else that h2 handles without much ado.
const COST_PING: u32 = 4;
/// SETTINGS are applied and answered; a client has few.
const COST_SETTINGS: u32 = 40;
/// A call that was begun for nothing. h2 counts those alone that nobody has accepted yet, 20 of
/// them; a client that takes its time has each one worked on. This is 2,000 at once, and then
/// 200 a second.
const COST_RESET: u32 = 20;
/// Needed for every download, up to two a frame of data.
const COST_WINDOW: u32 = 1;

/// A client sent more frames that carry nothing than anybody needs.
#[derive(Debug, thiserror::Error)]
#[error("a flood of HTTP/2 control frames")]
pub struct Flood;

/// What was seen of a connection.
#[derive(Debug)]
pub struct Frames {
    /// What is missing of the preface.
    preface: u32,
    header: [u8; HEADER],
    /// What is there of the header.
    have: usize,
    /// What is missing of the frame behind the header.
    missing: u32,
    greeted: bool,
    in_block: bool,
    purse: u32,
    /// When the purse was filled.
    filled: Instant,
    /// Bytes that were written since.
    written: u64,
}

impl Default for Frames {
    /// Nothing was read yet.
    fn default() -> Self {
        Self {
            preface: PREFACE,
            header: [0; HEADER],
            have: 0,
            missing: 0,
            greeted: false,
            in_block: false,
            purse: PURSE,
            filled: Instant::now(),
            written: 0,
        }
    }
}

impl Frames {
    /// Whether the preface and the first frame, which h2 holds to be SETTINGS, are here.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Whether a header block was begun that has not ended. Nothing else can come in between.
    pub fn is_in_block(&self) -> bool {
        self.in_block
    }

    /// Whether no frame is half here.
    pub fn is_between(&self) -> bool {
        self.greeted && self.have == 0 && self.missing == 0 && !self.in_block
    }

    /// The client was sent so much.
    pub fn written(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Looks at what was read.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        let skipped = bytes.len().min(self.preface as usize);
        self.preface -= skipped as u32;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.missing > 0 {
                let skipped = bytes.len().min(self.missing as usize);
                self.missing -= skipped as u32;
                bytes = &bytes[skipped..];
                if self.missing == 0 {
                    self.ended();
                }
                continue;
            }
            let taken = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                self.begun()?;
            }
        }
        Ok(())
    }

    fn begun(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let cost = match kind {
            kind::HEADERS | kind::CONTINUATION => {
                self.in_block = true;
                0
            }
            kind::RST_STREAM => COST_RESET,
            kind::DATA if length > 0 || flags & END_STREAM != 0 => 0,
            kind::SETTINGS => COST_SETTINGS,
            kind::WINDOW_UPDATE => COST_WINDOW,
            // PING, GOAWAY, DATA with nothing in it, PRIORITY, and kinds that nobody knows.
            _ => COST_PING,
        };
        self.missing = length;
        if length == 0 {
            self.ended();
        }
        self.spend(cost)
    }

    fn ended(&mut self) {
        let [_, _, _, kind, flags, ..] = self.header;
        if matches!(kind, kind::HEADERS | kind::CONTINUATION) && flags & END_HEADERS != 0 {
            self.in_block = false;
        }
        self.have = 0;
        self.greeted = true;
    }

    fn spend(&mut self, cost: u32) -> Result<(), Flood> {
        if cost > self.purse {
            let now = Instant::now();
            let since = now.duration_since(self.filled).as_millis();
            let earned = since * u128::from(INCOME) / 1000 + u128::from(self.written / WRITTEN);
            // Otherwise the fractions would be lost to whoever asks often.
            if earned > 0 {
                let earned = u32::try_from(earned).unwrap_or(PURSE);
                self.purse = self.purse.saturating_add(earned).min(PURSE);
                self.filled = now;
                self.written = 0;
            }
        }
        self.purse = self.purse.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn greeting() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, &[0; 12]));
        bytes
    }

    fn greeted() -> Frames {
        let mut frames = Frames::default();
        frames.read(&greeting()).unwrap();
        assert!(frames.is_between());
        frames
    }

    /// How many of these are read until it is too much.
    fn until_flooded(frames: &mut Frames, frame: &[u8]) -> u32 {
        (0..1_000_000)
            .find(|_| frames.read(frame).is_err())
            .expect("a limit")
    }

    #[tokio::test]
    async fn the_greeting_ends_with_the_first_frame() {
        let mut frames = Frames::default();
        let bytes = greeting();
        for byte in &bytes[..bytes.len() - 1] {
            frames.read(&[*byte]).unwrap();
            assert!(!frames.is_greeted());
        }
        frames.read(&bytes[bytes.len() - 1..]).unwrap();
        assert!(frames.is_greeted());
    }

    #[tokio::test]
    async fn a_block_is_open_until_its_last_byte() {
        let mut frames = greeted();
        let headers = frame(kind::HEADERS, END_STREAM, b"abc");
        frames.read(&headers).unwrap();
        assert!(frames.is_in_block() && !frames.is_between());
        let last = frame(kind::CONTINUATION, END_HEADERS, b"def");
        frames.read(&last[..last.len() - 1]).unwrap();
        assert!(frames.is_in_block());
        frames.read(b"f").unwrap();
        assert!(frames.is_between());
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_are_rationed() {
        let ping = frame(PING, 0, &[0; 8]);
        let mut frames = greeted();
        let at_once = until_flooded(&mut frames, &ping);
        assert_eq!(at_once, (PURSE - COST_SETTINGS) / COST_PING);
        frames.read(&ping[HEADER..]).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(until_flooded(&mut frames, &ping), INCOME / COST_PING);
        let settings = frame(kind::SETTINGS, 0, &[]);
        assert!(until_flooded(&mut greeted(), &settings) < PURSE / COST_SETTINGS);
        let reset = frame(kind::RST_STREAM, 0, &[0; 4]);
        assert!(until_flooded(&mut greeted(), &reset) < PURSE / COST_RESET);
        for odd in [
            frame(kind::DATA, 0, &[]),
            frame(2, 0, &[0; 5]),
            frame(200, 0, &[]),
        ] {
            assert!(until_flooded(&mut greeted(), &odd) <= at_once);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_downloads_may_ask_for_more() {
        let mut frames = greeted();
        let window = frame(kind::WINDOW_UPDATE, 0, &[0, 0, 1, 0]);
        let ping = frame(PING, 0, &[0; 8]);
        for _ in 0..200_000 {
            // A small message, both windows, and a measurement.
            frames.written(120);
            for frame in [&window, &window, &ping] {
                frames.read(frame).unwrap();
            }
        }
        // What PINGs are answered with does not pay for them.
        let mut frames = greeted();
        let flooded = (0..100_000).any(|_| {
            frames.written(17);
            frames.read(&ping).is_err()
        });
        assert!(flooded);
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_something_costs_nothing() {
        let mut frames = greeted();
        let data = frame(kind::DATA, 0, b"x");
        let end = frame(kind::DATA, END_STREAM, b"");
        let headers = frame(kind::HEADERS, END_HEADERS, b"x");
        for _ in 0..100_000 {
            for frame in [&headers, &data, &end] {
                frames.read(frame).unwrap();
            }
        }
    }

    proptest! {
        /// However the bytes are cut into pieces, and whatever they are.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![3 => 0..10u8, 1 => any::<u8>()], 0..400),
            cuts in prop::collection::vec(1..40usize, 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let _entered = runtime.enter();
            let bytes = [greeting(), bytes].concat();
            let mut whole = Frames::default();
            whole.read(&bytes).unwrap();
            let mut pieces = Frames::default();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, others) = rest.split_at(rest.len().min(*cut));
                pieces.read(piece).unwrap();
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(
                (whole.is_between(), whole.is_in_block(), whole.missing, whole.have, whole.purse),
                (pieces.is_between(), pieces.is_in_block(), pieces.missing, pieces.have, pieces.purse)
            );
        }
    }
}
