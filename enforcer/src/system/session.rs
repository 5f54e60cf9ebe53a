//! One `ipset -` that stays open, for members that come and go.
//!
//! Starting a program for a single address costs fifty times what the address costs. A
//! session takes lines that add and delete members, and nothing else: those can be said
//! twice, so that whatever goes wrong here is simply said again through `ipset restore`,
//! which stops at the line that is wrong and names it.
//!
//! `ipset` answers nothing to a line that succeeds and holds back its standard output, but
//! complains at once. So the last line asks for a set of a type that no ipset knows: the
//! complaint, which repeats the type, says that all before it is done.

use super::command::{await_any, receive};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Beyond this, one `ipset restore` is the cheaper way; also less than a pipe holds, so
/// that writing never waits.
const LONGEST_INPUT: usize = 8 << 10;
/// An answer takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a session that could not be opened, until the next is tried.
const REOPEN: Duration = Duration::from_mins(1);

/// A session with `ipset`, opened when it is first needed.
#[derive(Debug)]
pub(super) struct Session {
    program: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    not_before: Option<Instant>,
}

/// The running program. Dropped, it is ended.
#[derive(Debug)]
struct Open {
    child: Child,
    stdin: ChildStdin,
    /// `None` once it has closed it.
    stderr: Option<ChildStderr>,
    said: u64,
}

// === impl Session ===

impl Session {
    pub(super) fn new(program: PathBuf) -> Self {
        Self {
            program,
            state: Mutex::default(),
        }
    }

    /// Carries out `input`, lines for `ipset restore`. False when that is not (or not
    /// surely, or only in part) done: then it is to be said through `ipset restore`.
    pub(super) fn carry_out(&self, input: &str) -> bool {
        if input.len() > LONGEST_INPUT || !input.lines().all(|line| verb(line).is_some()) {
            return false;
        }
        let Ok(mut state) = self.state.lock() else {
            return false;
        };
        if state.open.is_none() {
            if state.not_before.is_some_and(|at| Instant::now() < at) {
                return false;
            }
            match Open::start(&self.program) {
                Ok(open) => state.open = Some(open),
                Err(error) => {
                    tracing::debug!(%error, "no session with ipset; every change starts a program");
                    state.not_before = Some(Instant::now() + REOPEN);
                    return false;
                }
            }
        }
        let Some(open) = state.open.as_mut() else {
            return false;
        };
        match open.carry_out(input) {
            Ok(done) => done,
            Err(error) => {
                tracing::debug!(%error, "the session with ipset has ended");
                state.open = None;
                false
            }
        }
    }
}

/// `add` or `del`.
fn verb(line: &str) -> Option<&str> {
    let (verb, _) = line.split_once(' ')?;
    matches!(verb, "add" | "del").then_some(verb)
}

// === impl Open ===

impl Open {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["-exist", "-"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut open = Self {
            child,
            stdin,
            stderr: Some(stderr),
            said: 0,
        };
        if open.say("")? {
            Ok(open)
        } else {
            Err(io::Error::other("it complains about nothing"))
        }
    }

    /// Members leave before others enter, also when one of the lines fails: the program
    /// goes on after a line that is wrong.
    fn carry_out(&mut self, input: &str) -> io::Result<bool> {
        let lines: Vec<&str> = input.lines().collect();
        for same in lines.chunk_by(|a, b| verb(a) == verb(b)) {
            if !self.say(&(same.join("\n") + "\n"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says lines and waits until they are carried out; true without any complaint.
    fn say(&mut self, lines: &str) -> io::Result<bool> {
        self.said += 1;
        let end = format!("done-{}-", self.said);
        let text = format!("{lines}create RF-none {end}\n");
        self.stdin.write_all(text.as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let nothing = None::<&ChildStdin>;
            await_any(nothing, nothing, self.stderr.as_ref(), deadline)?;
            receive(&mut self.stderr, &mut heard, usize::MAX)?;
            let text = String::from_utf8_lossy(&heard);
            if text.ends_with('\n') && text.contains(&end) {
                return Ok(text.lines().count() == 1);
            }
            if self.stderr.is_none() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;
    use test_case::test_case;

    /// Keeps what it is told, complains about `banana`, dies of `poison`.
    const IPSET: &str = r#"
        echo start >> calls
        while read -r verb set rest; do
            case "$verb $rest" in
                create*) echo "ipset v7: Syntax error: typename '$rest' is unknown" >&2 ;;
                *banana) echo "ipset v7: cannot parse banana" >&2 ;;
                *poison) exit 1 ;;
                *) echo "$verb $set $rest" >> calls ;;
            esac
        done
    "#;

    fn session(script: &str) -> (TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ipset");
        let cd = format!("#!/bin/sh\ncd {}\n{script}", folder.path().display());
        fs::write(&program, cd).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Session::new(program))
    }

    fn calls(folder: &TempDir) -> Vec<String> {
        let text = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_program_for_many_changes() {
        let (folder, session) = session(IPSET);
        assert!(session.carry_out("del a 1\nadd b 1\n"));
        assert!(session.carry_out("add b 2\n"));
        let expected = ["start", "del a 1", "add b 1", "add b 2"];
        assert_eq!(calls(&folder), expected);
    }

    #[test]
    fn nothing_enters_when_something_could_not_leave() {
        let (folder, session) = session(IPSET);
        assert!(!session.carry_out("del a banana\nadd b 1\n"));
        assert_eq!(calls(&folder), ["start"]);
        assert!(session.carry_out("add b 2\n"), "the session goes on");
        assert_eq!(calls(&folder), ["start", "add b 2"]);
    }

    #[test]
    fn a_program_that_died_is_replaced() {
        let (folder, session) = session(IPSET);
        assert!(!session.carry_out("add a poison\n"));
        assert!(session.carry_out("add a 1\n"));
        assert_eq!(calls(&folder), ["start", "start", "add a 1"]);
    }

    #[test_case("create a hash:ip\nadd a 1\n"; "what cannot be said twice")]
    #[test_case("add a 1\ndestroy b\n"; "the same later")]
    #[test_case(&"add a 1\n".repeat(2000); "too much of it")]
    fn the_rest_is_for_restore(input: &str) {
        let (folder, session) = session(IPSET);
        assert!(!session.carry_out(input));
        assert_eq!(calls(&folder), Vec::<String>::new());
    }

    #[test_case("exit 1"; "it ends at once")]
    #[test_case("exec cat >/dev/null 2>&1"; "it closes its outputs")]
    #[test_case("exec sleep 600"; "it says nothing")]
    fn without_a_session_it_is_not_tried_each_time(script: &str) {
        let (folder, session) = session(&format!("echo start >> calls\n{script}"));
        assert!(!session.carry_out("add a 1\n"));
        assert!(!session.carry_out("add a 1\n"));
        assert_eq!(calls(&folder), ["start"]);
    }
}
