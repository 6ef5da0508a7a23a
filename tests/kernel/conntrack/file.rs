//! Lines from a file, and what is saved to one.

use std::io::Write as _;

use super::read::seed;
use super::*;

/// Runs both with the same file.
fn agree_on(twins: &Twins, text: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().display();
    twins.agree(&[&format!("-R {path}")]);
    twins.agree(&[&format!("--load-file {path}")]);
}

#[test]
fn files_are_read_as_by_conntrack() {
    let twins = Twins::with(seed);
    agree_on(
        &twins,
        "# a comment\n\n   \n\t-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p udp --sport 1 --dport 2\n\
         -A\t-t 600   -s 10.9.0.1 -d 10.9.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -m 5\n\
         -A -t 600 -s \"10.9.0.1\" -d 10.9.0.3 -p udp --sport 1 --dport 2\n\
         -D -s 10.0.1.1\n-A -t 600 -s 2001:db8::9 -d 2001:db8::a -p 89 -w 7",
    );
    // conntrack(8) 1.4.7 takes the mark of the last line for that of every update.
    agree_on(&twins, "-U -s 10.9.0.1 -d 10.9.0.3 -m 7\n");
    agree_on(&twins, "");
    agree_on(&twins, "# nothing\n");
    agree_on(&twins, "-F\n-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p 89\n");
}

#[test]
fn wrong_files_are_refused_as_by_conntrack() {
    let twins = Twins::with(seed);
    for text in [
        "-L\n",
        "-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p 89\n-L\n",
        "-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p 89\n-A -t 600\n",
        "-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p nonsense\n",
        "-E\n",
        "-S\n",
        "-C\n",
        "-L expect\n",
        "-F expect\n",
        "-A -t 600 -s 10.9.0.1 -d 10.9.0.2 -p tcp --sport 1 --dport 2\n",
    ] {
        agree_on(&twins, text);
    }
    twins.agree(&["-R /nonexistent/file"]);
}

#[test]
fn what_is_saved_comes_back_whole() {
    let twins = Twins::with(|ns| {
        ns.nft("table inet labels { chain c { ct label set 1; }; }");
    });
    let other = Host::new(Netns::new());
    seed(&other.ns);
    let saved = ours(&other.client, "-L -o save");
    assert_eq!(saved.code, Some(0), "{}", saved.err);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(saved.out.as_bytes()).expect("written");
    let line = format!("-R {}", file.path().display());
    let restored = ours(&twins.ours.client, &line);
    assert_eq!((restored.code, &*restored.err), (Some(0), ""));
    let differ = State::of(&other.ns).difference(&State::of(&twins.ours.ns));
    assert_eq!(differ, None);
    // conntrack(8) reads it, too: what it cannot say stands in comments.
    let restored = theirs(&twins.theirs, &line);
    assert_eq!((restored.code, &*restored.err), (Some(0), ""));
    let rows = |ns| -> Vec<Row> {
        let mut rows = State::of(ns).rows;
        for row in &mut rows {
            row.labels.clear();
        }
        rows
    };
    assert_eq!(rows(&twins.theirs), rows(&other.ns));
}
