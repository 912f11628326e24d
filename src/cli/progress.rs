//! A progress bar on stderr, when a terminal stands behind it.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::logging::Loudness;
use super::output;
use crate::reconcile::{Phase, Progress};

/// Shows how far a run is, with rate and remaining time.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    phase: Option<Phase>,
}

impl Bar {
    pub(super) fn new(loudness: Loudness) -> Option<Self> {
        let shown = loudness > Loudness::Quiet && std::io::stderr().is_terminal() && !output::speaks_json();
        shown.then(|| Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)),
            phase: None,
        })
    }

    pub(super) fn show(&mut self, progress: Progress) {
        if self.phase != Some(progress.phase) {
            self.phase = Some(progress.phase);
            let what = match progress.phase {
                Phase::Reading => "reading ",
                Phase::Moving => "moving  ",
                Phase::Deleting => "deleting",
            };
            let style = match progress.total {
                Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {rate} eta {eta}",
                None => "{msg} {spinner} {human_pos} {rate}",
            };
            self.bar.reset();
            // The templates are constants; the plain style is as good where one would not parse.
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar.set_style(style.with_key("rate", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                let _ = write!(to, "{:.0}/s", state.per_sec());
            }));
            self.bar.set_message(what);
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        if let Some(total) = progress.total {
            self.bar.set_length(total.max(progress.done));
        }
        self.bar.set_position(progress.done);
    }

    /// Takes the bar away while something else is printed.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
