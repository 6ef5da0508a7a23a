//! What of an output the clock and chance decide, apart from what the programs do.

/// A line without that: the words that are left, and the timeouts, in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Masked {
    /// The line.
    pub(super) text: String,
    timeouts: Vec<u64>,
}

/// What else is masked beside time: ids, and port ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Both looked at the same table.
    SameTable,
    /// Each has a table of its own.
    TwinTables,
}

impl Masked {
    /// Masks a line.
    pub(super) fn of(line: &str, whose: Whose) -> Self {
        let mut timeouts = Vec::new();
        let text = if line.starts_with('<') || line.contains(" <flow") {
            of_xml(line, whose, &mut timeouts)
        } else {
            of_words(line, whose, &mut timeouts)
        };
        Self { text, timeouts }
    }

    /// Whether they say the same; the clock may have gone on by this many seconds.
    pub(super) fn is_like(&self, other: &Self, seconds: u64) -> bool {
        let pairs = self.timeouts.iter().zip(&other.timeouts);
        self.text == other.text
            && self.timeouts.len() == other.timeouts.len()
            && pairs.clone().all(|(a, b)| a.abs_diff(*b) <= seconds)
    }
}

fn of_words(line: &str, whose: Whose, timeouts: &mut Vec<u64>) -> String {
    let mut line = line.to_owned();
    for date in ["[start=", "[stop="] {
        // Dates have spaces in them. The same table's are told by the kernel.
        if let (Some(at), Whose::TwinTables) = (line.find(date), whose) {
            let end = at + line[at..].find(']').expect("a bracket");
            line.replace_range(at + date.len()..end, "");
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let words = saved(words);
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let mut masked = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| words[before]);
        let of_a_line = number(at).is_some() && at > 1 && number(at - 1).is_some();
        let expectation = number(at).is_some()
            && words
                .get(at + 1)
                .is_some_and(|next| next.starts_with("proto="));
        let name = word.split_once('=').map_or(*word, |(name, _)| name);
        let twin = whose == Whose::TwinTables;
        match name {
            // Behind the number of a protocol; behind that of an address family in
            // extended lines there is a name.
            _ if of_a_line || expectation || before == "-t" => {
                timeouts.push(number(at).expect("a number"));
                masked.push("TIMEOUT");
            }
            "delta-time" => masked.push("delta-time=N"),
            "id" if twin && !before.starts_with("code=") => masked.push("id=N"),
            "portid" if twin => masked.push("portid=N"),
            // Found only while that program runs; and by ctctl never.
            "progname" => {}
            _ if word.starts_with('[') && word.contains('.') => masked.push("[TIME]"),
            // A fraction of fewer digits has spaces behind it.
            "]" if masked.last() == Some(&"[TIME]") => {}
            _ => masked.push(word),
        }
    }
    masked.join(" ")
}

/// A saved line in what both write. conntrack(8) has no marks; and where addresses are
/// translated it writes the ports of replies for themselves, ctctl behind the address, so
/// that the translation comes back.
fn saved(words: Vec<&str>) -> Vec<&str> {
    if !words
        .first()
        .is_some_and(|word| ["-A", "-U", "-D"].contains(word))
    {
        return words;
    }
    let mut left_out = vec!["-m"];
    let translated = words.iter().any(|word| ["-n", "-g"].contains(word));
    if translated && words[0] == "-A" {
        left_out.extend(["-r", "-q", "--reply-port-src", "--reply-port-dst"]);
    }
    let mut left = Vec::new();
    let mut rest = words.into_iter();
    while let Some(word) = rest.next() {
        if left_out.contains(&word) {
            rest.next();
        } else if word == "-n" || word == "-g" {
            let to = rest.next().unwrap_or_default();
            left.extend([word, to.split_once(':').map_or(to, |(address, _)| address)]);
        } else {
            left.push(word);
        }
    }
    left
}

fn of_xml(line: &str, whose: Whose, timeouts: &mut Vec<u64>) -> String {
    let mut text = line.to_owned();
    // Found only while that program runs; and by ctctl never.
    if let Some(at) = text.find(" progname=") {
        text.truncate(at);
    }
    for element in ["when", "deltatime"] {
        replace(&mut text, element);
    }
    if whose == Whose::TwinTables {
        for element in ["id", "start", "stop"] {
            replace(&mut text, element);
        }
        if let Some(at) = text.find(" portid=") {
            text.truncate(at);
        }
    }
    if let Some(timeout) = replace(&mut text, "timeout") {
        timeouts.push(timeout.parse().expect("a number"));
    }
    text
}

/// Empties an element, and gives what it had.
fn replace(text: &mut String, element: &str) -> Option<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let start = text.find(&open)? + open.len();
    let end = start + text[start..].find(&close)?;
    let had = text[start..end].to_owned();
    text.replace_range(start..end, "");
    Some(had)
}

/// What a program says beside its output, without its name and version, and without the
/// number of a line, which conntrack(8) does not tell.
pub(super) fn unnamed(err: &str) -> String {
    let lines = err.lines().map(|line| match line.split_once("): ") {
        Some((banner, words)) if banner.starts_with("conntrack v") => {
            let words = match words.split_once(": ") {
                Some((place, words)) if place.starts_with("line ") => words,
                _ => words,
            };
            format!("conntrack: {words}")
        }
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}
