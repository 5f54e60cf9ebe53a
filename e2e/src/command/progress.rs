//! How far a run is, and how long it will still take: a bar at a terminal, a line now and
//! then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where there is no terminal, how often the time left is told.
const OFTEN: Duration = Duration::from_secs(30);

/// The progress of a run.
pub struct Progress {
    bar: ProgressBar,
    state: Mutex<State>,
    began: Instant,
    all: usize,
}

struct State {
    done: usize,
    told: Instant,
}

// === impl Progress ===

impl Progress {
    /// Of a run of `all` cases.
    pub fn new(all: usize) -> Self {
        let target = if std::io::stdout().is_terminal() {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(u64::try_from(all).ok(), target);
        let template = "{wide_bar:.cyan} {pos} of {len}, {elapsed}, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        let now = Instant::now();
        Self {
            bar,
            state: Mutex::new(State { done: 0, told: now }),
            began: now,
            all,
        }
    }

    /// Prints what came of a case, above the bar.
    pub fn tell(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        let left = left(state.done, self.all, self.began.elapsed());
        if self.bar.is_hidden() {
            println!("{text}");
            if state.told.elapsed() >= OFTEN {
                state.told = Instant::now();
                println!("     {} of {}, {left}", state.done, self.all);
            }
        } else {
            self.bar.println(text);
            self.bar.set_message(left);
            self.bar.inc(1);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The time left, in words, if the rest goes like what is done.
fn left(done: usize, all: usize, elapsed: Duration) -> String {
    let rest = u32::try_from(all.saturating_sub(done)).unwrap_or(u32::MAX);
    let done = u32::try_from(done).unwrap_or(u32::MAX).max(1);
    let seconds = (elapsed * rest / done).as_secs();
    match (rest, seconds) {
        (0, _) => "done".into(),
        (_, 0..90) => format!("about {} s left", seconds.max(1)),
        _ => format!("about {} min left", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::left;
    use std::time::Duration;
    use test_case::test_case;

    #[test_case(10, 20, 30 => "about 30 s left"; "half done")]
    #[test_case(1, 11, 60 => "about 10 min left"; "minutes")]
    #[test_case(20, 20, 30 => "done"; "all done")]
    #[test_case(0, 20, 0 => "about 1 s left"; "nothing yet")]
    fn the_rest_goes_like_what_is_done(done: usize, all: usize, seconds: u64) -> String {
        left(done, all, Duration::from_secs(seconds))
    }
}
