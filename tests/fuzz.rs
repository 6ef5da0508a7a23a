//! The fuzz targets without a fuzzer, on any compiler: every input of the corpus, and inputs
//! made of them by chance, the same ones in every run. `CTFLEET_FUZZ_SEED` chooses others,
//! `CTFLEET_FUZZ_ROUNDS` how many.

// A library of its own to cargo-fuzz.
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// Inputs that are made for each target; about a second's work.
const ROUNDS: u64 = 10_000;
/// No input is longer: what a short run finds, it finds in small ones.
const LONGEST: usize = 4096;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// The names in a directory, without an extension.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    entries
        .filter_map(|entry| stem(entry.expect("an entry").path()))
        .collect()
}

/// The inputs of a corpus, in an order that does not change.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = root().join("corpus").join(name);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("an input"))
        .collect()
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}

/// Says which input it was, when the target panics.
struct Input<'a>(&'a str, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn run(name: &str, data: &[u8]) {
    let _input = Input(name, data);
    fuzz::run(name, data);
}

/// Numbers by chance, as splitmix64 makes them.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("small")
    }

    /// A part of the bytes.
    fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let begin = self.below(bytes.len() + 1);
        let length = self.below((bytes.len() - begin).min(64) + 1);
        &bytes[begin..begin + length]
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Bytes at which readers err: ends of ranges, signs of text.
const ODD: &[u8] =
    b"\0\x01\x02\x04\x08\x10\x20\x7f\x80\x81\xc0\xff \n\t\"'\\/*?[]{}()=:,.-+#!09aAzZ";

/// Changes an input in one place.
fn mutate(data: &mut Vec<u8>, chance: &mut Chance, corpus: &[Vec<u8>]) {
    let at = chance.below(data.len() + 1);
    let end = at + chance.below((data.len() - at).min(64) + 1);
    match chance.below(8) {
        0 if at < data.len() => data[at] ^= 1 << chance.below(8),
        1 if at < data.len() => data[at] = *chance.pick(ODD),
        2 if at < data.len() => data[at] = chance.next() as u8,
        3 => data.insert(at, *chance.pick(ODD)),
        4 => drop(data.drain(at..end)),
        5 => data.truncate(at),
        // A part of itself, or of another input, in this place.
        6 => {
            let copy = chance.part(&data.clone()).to_vec();
            drop(data.splice(at..at, copy));
        }
        _ => {
            let other = chance.pick(corpus);
            let copy = chance.part(other).to_vec();
            drop(data.splice(at..end, copy));
        }
    }
    data.truncate(LONGEST);
}

fn fuzz(name: &str) {
    let corpus = corpus(name);
    assert!(corpus.len() > 1, "{name}: {} inputs", corpus.len());
    run(name, &[]);
    for data in &corpus {
        run(name, data);
    }
    let seed = number("CTFLEET_FUZZ_SEED", 5);
    let rounds = number("CTFLEET_FUZZ_ROUNDS", ROUNDS);
    println!(
        "{name}: {} inputs, {rounds} rounds from seed {seed}",
        corpus.len()
    );
    let mut chance = Chance(seed);
    for _ in 0..rounds {
        let mut data = chance.pick(&corpus).clone();
        for _ in 0..=chance.below(6) {
            mutate(&mut data, &mut chance, &corpus);
        }
        run(name, &data);
    }
}

/// A test for each target, so that they run beside one another and fail by name.
macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    bulk
    configuration
    conntrack_line
    expression
    filter_message
    frames
    netlink_answer
    netlink_event
    netlink_expectation
    netlink_flow
    netlink_write
    saved
    subject
}

#[test]
fn every_target_has_a_program_a_corpus_and_a_test() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&root().join("fuzz_targets")), known);
    assert_eq!(names(&root().join("corpus")), known);
    assert_eq!(
        TESTED
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        known
    );
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
