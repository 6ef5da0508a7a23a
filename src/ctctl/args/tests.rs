//! The help texts, held by golden files, and what the whole command line means.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _, Parser as _};

use super::*;

/// Every command's short help, in the order of `ctctl -h`.
fn help() -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut text = String::new();
    write_help(&mut root, &mut text);
    text
}

fn write_help(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("ctctl").to_owned();
    let help = command.render_help().to_string();
    writeln!(text, "$ {name} -h").unwrap();
    // What all commands have in common stands in the first one alone.
    let mut common = false;
    for line in help.lines() {
        common = match line {
            "Agents and output:" => name != "ctctl",
            _ => common && (line.is_empty() || line.starts_with(' ')),
        };
        if !common {
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
    }
    text.push('\n');
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" {
            write_help(inner, text);
        }
    }
}

/// `CTFLEET_BLESS=1` writes the file anew; the diff is then for a reviewer's eyes.
#[test]
fn the_help_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ctctl/args/help.txt");
    let now = help();
    if std::env::var_os("CTFLEET_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let differs = golden
        .lines()
        .zip(now.lines())
        .find(|(golden, now)| golden != now);
    assert_eq!(
        differs, None,
        "the help changed; look at it, then CTFLEET_BLESS=1"
    );
    assert_eq!(golden.len(), now.len());
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

fn targets(line: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let cli = Cli::try_parse_from([&["ctctl"], line, &["count"]].concat()).unwrap();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.into())
    };
    let fleet = cli.global.fleet(variable).unwrap();
    fleet
        .targets
        .iter()
        .map(|target| target.name().to_string())
        .collect()
}

#[test]
fn targets_of_the_command_line_stand_alone() {
    let env = [
        ("CTCTL_TARGETS", "unix:/e1,unix:/e2"),
        ("CTCTL_TARGET", "unix:/e3"),
    ];
    assert_eq!(targets(&[], &env), ["unix:/e1", "unix:/e2"]);
    assert_eq!(targets(&[], &env[1..]), ["unix:/e3"]);
    assert_eq!(
        targets(&["-t", "a=unix:/1", "-t", "unix:/2"], &env),
        ["a", "unix:/2"]
    );
    assert_eq!(targets(&[], &[]), ["unix:/run/ctfleet/ctagent.sock"]);
}

#[test]
fn a_variable_that_is_empty_is_an_error_not_the_default() {
    let cli = Cli::try_parse_from(["ctctl", "count"]).unwrap();
    let fleet = cli
        .global
        .fleet(|name| (name == "CTCTL_TARGETS").then(|| "".into()));
    assert!(fleet.is_err());
}

#[test]
fn tls_is_set_up_only_where_a_target_needs_it() {
    let fleet = |line: &str| {
        let words = ["ctctl"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap();
        cli.global.fleet(|_| None).map(|fleet| fleet.targets.len())
    };
    assert_eq!(fleet("-t unix:/a -t http://[::1]:1 count").unwrap(), 2);
    assert_eq!(fleet("-t h:1 --insecure-plaintext count").unwrap(), 1);
    let error = |line: &str| fleet(line).unwrap_err().to_string();
    assert!(error("-t h:1 count").contains("--tls-ca"));
    assert!(error("-t http://h:1 count").contains("--insecure-plaintext"));
}

#[test]
fn globals_stand_before_and_behind_the_command() {
    let of = |line: &str| {
        let words = ["ctctl"].into_iter().chain(line.split_whitespace());
        let global = Cli::try_parse_from(words).unwrap().global;
        let patience = global.patience();
        (global.netns, global.output, patience)
    };
    let expected = (
        "blue".to_owned(),
        Format::Jsonl,
        Some(Duration::from_secs(5)),
    );
    assert_eq!(of("-N blue -o jsonl --timeout 5 list -n"), expected);
    assert_eq!(
        of("expect list --netns blue -o jsonl --timeout 5s"),
        expected
    );
}
