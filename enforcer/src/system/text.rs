//! What the programs print, and what it means: pure.

use super::command::{self, Output};
use super::{Error, OWN_SET_PREFIX, Options, programs};
use std::path::Path;
use std::time::Duration;

/// How long iptables-restore waits for the xtables lock.
pub(super) fn wait_argument(options: &Options) -> String {
    format!("--wait={}", options.lock_wait.as_secs().max(1))
}

/// What the xtables programs end with when the lock stays taken (`RESOURCE_PROBLEM`).
const LOCK_STATUS: i32 = 4;

/// An error that says what the program said, unless it succeeded.
pub(super) fn succeeded(
    program: &Path,
    arguments: &[&str],
    input: &str,
    output: Output,
    waited: Duration,
) -> Result<Output, Error> {
    if output.status.success() {
        return Ok(output);
    }
    let program = command::display(program, arguments);
    if output.status.code() == Some(LOCK_STATUS) && output.stderr.contains("xtables lock") {
        return Err(Error::LockHeld { program, waited });
    }
    let line = programs::complained_line(&output.stderr);
    Err(Error::Failed {
        program,
        status: output.status.to_string(),
        text: line
            .and_then(|line| input.lines().nth(line - 1))
            .map(str::to_owned),
        line,
        stderr: output.stderr,
    })
}

/// The lines about sets of our own in what `ipset save` printed.
pub(super) fn own_sets(text: &str) -> String {
    let own = |line: &&str| {
        let name = line.split(' ').nth(1);
        name.is_some_and(|name| name.starts_with(OWN_SET_PREFIX))
    };
    text.split_inclusive('\n').filter(own).collect()
}

/// (chain, target) of a `-A` line.
pub(super) fn appended(line: &str) -> Option<(&str, Option<&str>)> {
    let mut words = line.strip_prefix("-A ")?.split(' ');
    let chain = words.next()?;
    let mut target = None;
    // A comment may contain " -j "; the target stands after every match.
    while let Some(word) = words.next() {
        if matches!(word, "-j" | "-g") {
            target = words.next();
        }
    }
    Some((chain, target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("-A FORWARD -j RF-FORWARD", Some(("FORWARD", Some("RF-FORWARD"))))]
    #[test_case("-A INPUT -m comment --comment \"a -j b\" -g X", Some(("INPUT", Some("X"))))]
    #[test_case("-A INPUT -p tcp", Some(("INPUT", None)); "no target")]
    #[test_case(":FORWARD ACCEPT [0:0]", None; "a chain")]
    fn appended_rules(line: &str, expected: Option<(&str, Option<&str>)>) {
        assert_eq!(appended(line), expected);
    }

    #[test]
    fn only_own_sets_are_kept() {
        let text =
            "create RFa hash:ip\nadd RFa 10.0.0.1\ncreate cali4 hash:ip\nadd cali4 RFa\nadd RFb x";
        assert_eq!(
            own_sets(text),
            "create RFa hash:ip\nadd RFa 10.0.0.1\nadd RFb x"
        );
    }
}
