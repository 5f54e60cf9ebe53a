//! Several workers play at once, each on worlds of its own.

use super::run::{CaseResult, Options, Runner, Variant};
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError};

/// Plays `variants` on `workers` threads and returns what came of them, in their order.
///
/// What stands beside each other and needs the same stage stays with one worker, so that
/// none is built twice and no more than `workers` exist. `each` sees every result as
/// it comes, one at a time, with the runner that has the case's world; it may change the
/// result, and breaks off the run: what has not begun is then left out.
pub fn play<F>(variants: &[Variant], options: &Options, workers: usize, each: F) -> Vec<CaseResult>
where
    F: Fn(&Variant, &mut CaseResult, &Runner) -> ControlFlow<()> + Sync,
{
    let queue = Mutex::new(same_stages(variants));
    let results = Mutex::new((Vec::new(), ControlFlow::Continue(())));
    let work = || {
        let mut runner = Runner::new(options.clone());
        let mut last = None;
        while let Some(group) = next(&queue, variants, last) {
            last = variants[group.clone()].last();
            for index in group {
                let mut result = runner.play(&variants[index]);
                let mut told = results.lock().unwrap_or_else(PoisonError::into_inner);
                if told.1.is_continue() {
                    told.1 = each(&variants[index], &mut result, &runner);
                }
                told.0.push((index, result));
                if told.1.is_break() {
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let (mut all, _) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The next in turn, unless another needs the world that the worker has from its `last`.
fn next(
    queue: &Mutex<VecDeque<Range<usize>>>,
    variants: &[Variant],
    last: Option<&Variant>,
) -> Option<Range<usize>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let near = last.and_then(|last| {
        let fits = |group: &Range<usize>| variants[group.start].shares_world(last);
        queue.iter().position(fits)
    });
    queue.remove(near.unwrap_or(0))
}

/// Neighbours with equal stages; the longest group first, so that no worker is left with
/// it when the others have nothing more to do.
fn same_stages(variants: &[Variant]) -> VecDeque<Range<usize>> {
    let mut groups: Vec<Range<usize>> = variants
        .chunk_by(Variant::shares_stage)
        .scan(0, |start, group| {
            let range = *start..*start + group.len();
            *start = range.end;
            Some(range)
        })
        .collect();
    let length = |group: &Range<usize>| -> usize {
        variants[group.clone()].iter().map(Variant::length).sum()
    };
    groups.sort_by_key(|group| std::cmp::Reverse(length(group)));
    groups.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Status};
    use crate::fabric::PodKind;

    fn cases() -> Vec<Case> {
        let one = |name| Case::new(name, "").kinds(&[PodKind::Bridge]);
        // Without an enforcer these are not played: no world is needed here.
        let act = |case: Case| case.act("nothing", |_| Ok(()));
        vec![act(one("a").flags(&["--x"])), act(one("b")), act(one("c"))]
    }

    #[test]
    fn neighbours_with_one_stage_stay_together_largest_first() {
        let cases = cases();
        let variants = Runner::new(Options::default()).variants(&cases);
        let groups: Vec<Vec<&str>> = same_stages(&variants)
            .into_iter()
            .map(|g| variants[g].iter().map(|v| v.name.as_str()).collect())
            .collect();
        assert_eq!(
            groups,
            [
                vec!["b/same-bridge", "c/same-bridge"],
                vec!["b/cross-bridge", "c/cross-bridge"],
                vec!["a/same-bridge"],
                vec!["a/cross-bridge"],
            ]
        );
    }

    #[test]
    fn a_worker_goes_on_in_its_world() {
        let cases = cases();
        let variants = Runner::new(Options::default()).variants(&cases);
        let queue = Mutex::new(same_stages(&variants));
        let mut order = Vec::new();
        let mut last = None;
        while let Some(group) = next(&queue, &variants, last) {
            last = variants[group.clone()].last();
            order.extend(variants[group].iter().map(|v| v.name.as_str()));
        }
        assert_eq!(
            order,
            [
                "b/same-bridge",
                "c/same-bridge",
                "a/same-bridge",
                "b/cross-bridge",
                "c/cross-bridge",
                "a/cross-bridge",
            ]
        );
    }

    #[test]
    fn results_come_in_the_order_of_the_variants() {
        let cases = cases();
        let options = Options::default();
        let variants = Runner::new(options.clone()).variants(&cases);
        let names: Vec<String> = variants.iter().map(|v| v.name.clone()).collect();
        let go = |_: &Variant, _: &mut CaseResult, _: &Runner| ControlFlow::Continue(());
        let results = play(&variants, &options, 3, go);
        let played: Vec<String> = results.iter().map(|r| r.name.clone()).collect();
        assert_eq!(played, names);
        assert!(
            results
                .iter()
                .all(|r| matches!(r.status, Status::NotRun(_)))
        );
    }

    #[test]
    fn a_run_that_is_broken_off_leaves_the_rest_out() {
        let cases = cases();
        let options = Options::default();
        let variants = Runner::new(options.clone()).variants(&cases);
        let stop = |_: &Variant, _: &mut CaseResult, _: &Runner| ControlFlow::Break(());
        assert_eq!(play(&variants, &options, 1, stop).len(), 1);
    }
}
