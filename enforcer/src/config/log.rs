//! Where log lines go and what they look like.

use super::{CommonArgs, LogFormat};
use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. Once a process.
///
/// # Errors
/// `--log-level` makes no sense, or logging has been started before.
pub fn start_logging(args: &CommonArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(&args.log_level)
        .with_context(|| {
            format!(
                "--log-level: found {:?}; write error, warn, info, debug or trace",
                args.log_level
            )
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match args.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
