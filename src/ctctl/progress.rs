//! How far long work is: on a terminal, and only there.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::connect::NodeError;
use super::fanout::Consumer;
use super::fleet::Target;

const TICK: Duration = Duration::from_millis(200);

/// Counts nodes that are done.
pub fn of_nodes(verb: &'static str, nodes: usize) -> ProgressBar {
    let template = "{spinner} {msg}: {pos}/{len} nodes done, {elapsed}";
    on_terminal(u64::try_from(nodes).ok(), template, verb)
}

/// Counts the bytes of a file that were read, or the entries where its size is not known.
pub fn of_bytes(size: Option<u64>) -> ProgressBar {
    let template = match size {
        Some(_) => "{wide_bar} {bytes}/{total_bytes}, {msg}, {eta} left",
        None => "{spinner} {bytes}, {msg}, {elapsed}",
    };
    on_terminal(size, template, "0 entries")
}

fn on_terminal(length: Option<u64>, template: &str, message: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    bar.set_style(style(template));
    bar.set_message(message);
    // Draws nothing where standard error is no terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

/// The templates are constants; a bad one would show as the default style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Keeps everything, for answers that are small, and shows how many there are.
pub struct Gather<T> {
    answers: Vec<(Arc<Target>, T)>,
    bar: ProgressBar,
}

impl<T> Gather<T> {
    /// Shows its progress there.
    pub fn new(bar: ProgressBar) -> Self {
        Self {
            answers: Vec::new(),
            bar,
        }
    }

    /// What was brought, in the order of the targets.
    pub fn in_order(mut self, targets: &[Arc<Target>]) -> Vec<(Arc<Target>, T)> {
        let places: HashMap<&str, usize> = targets
            .iter()
            .enumerate()
            .map(|(place, t)| (&**t.name(), place))
            .collect();
        self.answers
            .sort_by_key(|(node, _)| places.get(&**node.name()).copied());
        self.answers
    }
}

impl<T: Send + 'static> Consumer<T> for Gather<T> {
    fn item(&mut self, node: &Arc<Target>, item: T) -> io::Result<ControlFlow<()>> {
        self.answers.push((Arc::clone(node), item));
        self.bar.inc(1);
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&mut self, _node: &Target, _error: &NodeError) -> io::Result<()> {
        self.bar.inc(1);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }
}
