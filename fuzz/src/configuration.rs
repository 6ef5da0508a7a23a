//! The agent's configuration: TOML, settings, and the checks of the whole.

use ctfleet::agent::config::{Config, Settings};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let settings = match toml::from_str::<Settings>(text) {
        Ok(settings) => settings,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // What the file says goes before nothing, and nothing before what the file says.
    let same = settings.clone().or(Settings::default());
    assert_eq!(same, settings);
    assert_eq!(Settings::default().or(same), settings);
    match Config::resolve(settings) {
        Ok(config) => assert!(!config.listen.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
