//! Every command of ctctl that the documentation shows is one.

use super::args::Cli;

const PAGES: [(&str, &str); 7] = [
    ("README.md", include_str!("../../README.md")),
    ("ctctl.md", include_str!("../../docs/ctctl.md")),
    ("conntrack.md", include_str!("../../docs/conntrack.md")),
    ("filter.md", include_str!("../../docs/filter.md")),
    ("json.md", include_str!("../../docs/json.md")),
    ("operation.md", include_str!("../../docs/operation.md")),
    ("api.md", include_str!("../../docs/api.md")),
];

/// The words of a command, up to the first pipe, redirection or comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '|' | '>' | '<' | '#' | '&' if !quoted && word.is_none() => return words,
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Whether the line is a command that is shown, and which.
fn command(line: &str) -> Option<&str> {
    let line = ["$ ", "# ", "    "]
        .iter()
        .find_map(|prompt| line.strip_prefix(prompt))?;
    line.starts_with("ctctl ").then_some(line)
}

#[test]
fn every_command_that_is_shown_is_one() {
    let mut seen = 0;
    for (page, text) in PAGES {
        for line in text.lines().filter_map(command) {
            seen += 1;
            if let Err(error) = Cli::read(words(line).into_iter().map(Into::into).collect()) {
                panic!("{page}: {line}\n{error}");
            }
        }
    }
    assert!(seen > 20, "only {seen} commands");
}

#[test]
fn a_line_is_split_as_a_shell_does() {
    let line = "ctctl list 'dport 443 and a | b' -o save > flows";
    assert_eq!(
        words(line),
        ["ctctl", "list", "dport 443 and a | b", "-o", "save"]
    );
    assert_eq!(
        words("ctctl create --file - < flows"),
        ["ctctl", "create", "--file", "-"]
    );
}
