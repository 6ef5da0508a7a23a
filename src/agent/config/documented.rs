//! What docs/operation.md and deploy/ctagent.toml say of the settings is what they are.

use clap::CommandFactory as _;

use super::{Cli, Config, Settings};

const PAGE: &str = include_str!("../../../docs/operation.md");
const FILE: &str = include_str!("../../../deploy/ctagent.toml");

#[test]
fn every_flag_has_its_row_with_its_default() {
    let rows: Vec<Vec<_>> = PAGE
        .lines()
        .skip_while(|line| *line != "| flag and key | default | |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut documented = 0;
    for argument in Cli::command().get_arguments() {
        let name = argument.get_long().expect("long flags only");
        if ["config", "help", "version"].contains(&name) {
            continue;
        }
        let quoted = format!("`{name}`");
        let row = rows.iter().find(|row| row[0].contains(&quoted));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        documented += 1;
        let help = argument.get_help().expect("help").to_string();
        if let Some((_, default)) = help.split_once("[default: ") {
            assert_eq!(
                row[1].trim_matches('`'),
                default.trim_end_matches(']'),
                "{name}"
            );
        }
    }
    let named: usize = rows.iter().map(|row| row[0].matches('`').count() / 2).sum();
    assert_eq!(named, documented, "a row of a flag that is none");
}

/// The file as it is installed changes nothing, and its comments are the defaults.
#[test]
fn the_file_that_is_installed_has_the_defaults() {
    let parse = |text: &str| toml::from_str::<Settings>(text).expect("TOML");
    assert_eq!(parse(FILE), Settings::default());

    let uncommented: String = FILE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with('[') || line.split(' ').nth(1) == Some("="))
        .filter(|line| !line.starts_with("tls-"))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::resolve(parse(&uncommented)).expect("a configuration");
    let default = Config::resolve(Settings::default()).expect("a configuration");
    assert_eq!(config, default);
    for argument in Cli::command().get_arguments() {
        let name = argument.get_long().expect("long flags only");
        if !["config", "help", "version"].contains(&name) {
            assert!(FILE.contains(&format!("#{name} = ")), "{name}");
        }
    }
}
