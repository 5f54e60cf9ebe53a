//! Runs one program to its end, with a time limit.

use super::Error;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// So much of what a program says on stderr is kept.
const STDERR_LIMIT: usize = 4096;

/// What a program left.
#[derive(Debug)]
pub(super) struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `program` with `input` on its stdin. After `timeout` it is killed, it alone.
///
/// # Errors
/// [`Error::Io`] and [`Error::TimedOut`]; an exit status other than 0 is no error here.
pub(super) fn run(
    program: &Path,
    arguments: &[&str],
    input: &str,
    timeout: Duration,
) -> Result<Output, Error> {
    let name = || display(program, arguments);
    let broken = |source| Error::Io {
        program: name(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        // Messages are parsed.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    let deadline = Instant::now() + timeout;
    let ended = converse(&mut child, input.as_bytes(), deadline)
        .and_then(|said| Ok(wait(&mut child, deadline)?.map(|status| (status, said))));
    if let Ok(Some((status, (stdout, stderr)))) = ended {
        return Ok(Output {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
        });
    }
    // Errors here mean that it has ended meanwhile, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
    match ended {
        Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(broken(error)),
        _ => Err(Error::TimedOut {
            program: name(),
            after: timeout,
        }),
    }
}

/// A program and its arguments, for people.
pub(super) fn display(program: &Path, arguments: &[&str]) -> String {
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy();
    std::iter::once(name.as_ref())
        .chain(arguments.iter().copied())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Writes and reads whatever is ready, until the program has closed both its outputs.
/// One thread and no deadlock: it may talk before it has read everything.
fn converse(
    child: &mut Child,
    mut input: &[u8],
    deadline: Instant,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut stdin, mut stdout, mut stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    for fd in [
        stdin.as_ref().map(AsFd::as_fd),
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ]
    .into_iter()
    .flatten()
    {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    loop {
        if input.is_empty() {
            // The program reads to the end of its input.
            stdin = None;
        }
        if stdout.is_none() && stderr.is_none() {
            return Ok((said, complained));
        }
        await_any(stdin.as_ref(), stdout.as_ref(), stderr.as_ref(), deadline)?;
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(written) => input = &input[written..],
                Err(error) if is_transient(&error) => {}
                // It does not want the rest; its exit status tells why.
                Err(_) => input = &[],
            }
        }
        receive(&mut stdout, &mut said, usize::MAX)?;
        receive(&mut stderr, &mut complained, STDERR_LIMIT)?;
    }
}

/// Waits until one of them may be ready; it may also be none of them.
pub(super) fn await_any(
    stdin: Option<&impl AsFd>,
    stdout: Option<&impl AsFd>,
    stderr: Option<&impl AsFd>,
    deadline: Instant,
) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(3);
    fds.extend(stdin.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
    fds.extend(stdout.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
    fds.extend(stderr.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
    let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
    match poll(
        &mut fds,
        PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX),
    ) {
        Err(Errno::EINTR) | Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Appends what is there, up to `limit` bytes in all; `None` once the pipe is closed.
pub(super) fn receive<R: Read>(
    pipe: &mut Option<R>,
    into: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => {
                let room = limit.saturating_sub(into.len());
                into.extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(error) if is_transient(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The exit status; `None` at the deadline. Having closed its outputs a program ends at
/// once, so this hardly ever sleeps.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(20);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str, timeout: Duration) -> Result<Output, Error> {
        run(Path::new("/bin/sh"), &["-c", script], input, timeout)
    }
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn output_and_status_are_kept() {
        let output = shell("cat; echo oops >&2; exit 3", "in", LONG).unwrap();
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("in", "oops")
        );
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn more_than_pipes_hold_goes_both_ways() {
        let input = "x".repeat(3_000_000);
        let output = shell("tee /dev/stderr", &input, LONG).unwrap();
        assert_eq!(output.stdout.len(), input.len());
        assert_eq!(output.stderr.len(), STDERR_LIMIT);
    }

    #[test]
    fn a_program_that_reads_nothing_is_no_error() {
        let output = shell("exit 5", &"x".repeat(3_000_000), LONG).unwrap();
        assert_eq!(output.status.code(), Some(5));
    }

    #[test]
    fn it_is_killed_at_the_limit() {
        let error = shell("exec sleep 600", "", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), "timed_out");
        let error = shell(
            "exec >&- 2>&-; exec sleep 600",
            "",
            Duration::from_millis(50),
        )
        .unwrap_err();
        assert_eq!(
            error.kind(),
            "timed_out",
            "also when it has closed its outputs"
        );
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = run(Path::new("/nonexistent/x"), &["-a"], "", LONG).unwrap_err();
        assert!(error.to_string().starts_with("running x -a: "), "{error}");
    }
}
