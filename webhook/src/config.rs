//! The command line: [`Cli`] is what was typed, [`Settings`] what it resolves to.

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use ringfence_cluster::Origin;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

use crate::cache::Source;

/// Judges NetworkPolicies, Services and Namespaces before the API server stores them:
/// refuses what is risky, adds what was forgotten, and says what happens to traffic.
///
/// Serves /mutate and /validate over TLS, and /livez, /readyz and /metrics without TLS on
/// a port of their own. Certificate, key and the configuration of checks are loaded anew
/// when they change.
///
/// Every flag can also be given as an environment variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringfence-webhook", version, max_term_width = 100)]
pub struct Cli {
    /// The certificate chain to serve with, in PEM, the leaf first.
    #[arg(long, env = "RINGFENCE_TLS_CERT", value_name = "FILE")]
    #[arg(default_value = "/etc/ringfence/tls/tls.crt")]
    pub tls_cert: PathBuf,
    /// The private key of the certificate, in PEM.
    #[arg(long, env = "RINGFENCE_TLS_KEY", value_name = "FILE")]
    #[arg(default_value = "/etc/ringfence/tls/tls.key")]
    pub tls_key: PathBuf,
    /// Let in only clients with a certificate of this CA (PEM): the API server's, if its
    /// admission configuration has one. Without it every client is let in.
    #[arg(long, env = "RINGFENCE_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// The configuration of checks and injection (YAML). Without it the defaults hold:
    /// profile baseline, DNS injected, nothing exempt.
    #[arg(long, env = "RINGFENCE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How often certificate, key and configuration are looked at for changes.
    #[arg(long, env = "RINGFENCE_RELOAD_PERIOD", value_name = "DURATION")]
    #[arg(default_value = "5s", value_parser = duration)]
    pub reload_period: Duration,
    /// Where objects come from: `kubernetes`, or `folder:PATH` for a folder of manifests
    /// (which is watched).
    #[arg(long, env = "RINGFENCE_SOURCE", default_value = "kubernetes")]
    #[arg(visible_alias = "objects")]
    pub source: Origin,
    /// The kubeconfig file to reach the API server with; without it the pod's service
    /// account is used.
    #[arg(long, env = "RINGFENCE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// After a watch has been lost for so long, checks that need the cluster's objects
    /// answer Unknown: they warn, and deny and inject nothing.
    #[arg(long, env = "RINGFENCE_STALE_AFTER", value_name = "DURATION")]
    #[arg(default_value = "2m", value_parser = duration)]
    pub stale_after: Duration,
    /// The address that both ports below listen on.
    #[arg(long, env = "RINGFENCE_BIND_ADDRESS", value_name = "ADDRESS")]
    #[arg(default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port of /mutate and /validate (TLS).
    #[arg(long, env = "RINGFENCE_PORT", value_name = "PORT")]
    #[arg(default_value_t = 9443)]
    pub port: u16,
    /// The port of /livez, /readyz, /generation and /metrics (plain HTTP).
    #[arg(long, env = "RINGFENCE_HEALTH_PORT", value_name = "PORT")]
    #[arg(default_value_t = 9440)]
    pub health_port: u16,
    /// On SIGTERM, how long to serve on while unready, until no endpoint leads here.
    #[arg(long, env = "RINGFENCE_DRAIN", value_name = "DURATION")]
    #[arg(default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// Threads for connections, and as many that judge; 0: as many as there are cores.
    #[arg(long, env = "RINGFENCE_THREADS", value_name = "NUMBER")]
    #[arg(default_value_t = 2)]
    pub threads: usize,
    /// How log lines are written.
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace; also per module, for
    /// example `info,ringfence_webhook::service=warn` for no line per request.
    #[arg(long, env = "RINGFENCE_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "info")]
    pub log_level: String,
}

/// `--log-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the webhook goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificate, key, and client CA if there is one.
    pub tls: Vec<PathBuf>,
    /// The configuration of checks.
    pub config: Option<PathBuf>,
    /// Between two looks at these files.
    pub reload_period: Duration,
    /// Where objects come from.
    pub source: Source,
    /// Where requests are served.
    pub address: SocketAddr,
    /// Where health is.
    pub health: SocketAddr,
    /// Time of the drain.
    pub drain: Duration,
    /// Threads for requests.
    pub threads: usize,
}

// === impl Settings ===

impl Settings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// Names the flags that contradict each other.
    pub fn resolve(cli: &Cli) -> anyhow::Result<Self> {
        if cli.kubeconfig.is_some() && cli.source != Origin::Kubernetes {
            bail!("--kubeconfig and --source=folder:... exclude each other: leave one away");
        }
        if cli.port == cli.health_port && cli.port != 0 {
            bail!("--port and --health-port are the same: one has TLS and the other has not");
        }
        let mut tls = vec![cli.tls_cert.clone(), cli.tls_key.clone()];
        tls.extend(cli.client_ca.clone());
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            tls,
            config: cli.config.clone(),
            reload_period: cli.reload_period,
            source: Source {
                origin: cli.source.clone(),
                kubeconfig: cli.kubeconfig.clone(),
                stale_after: cli.stale_after,
            },
            address: SocketAddr::new(cli.bind_address, cli.port),
            health: SocketAddr::new(cli.bind_address, cli.health_port),
            drain: cli.drain,
            threads: if cli.threads == 0 { cores } else { cli.threads },
        })
    }
}

/// `5s`, `1m30s`, `250ms`; at most a day.
fn duration(text: &str) -> Result<Duration, String> {
    let advice = "write a duration from 1ms to 24h, such as 90s, 5m or 1m30s";
    let parsed = text.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|d| (Duration::from_millis(1)..=Duration::from_hours(24)).contains(d))
        .ok_or_else(|| format!("found {text:?}; {advice}"))
}

/// Sends log lines to standard error.
///
/// # Errors
/// `--log-level` is no filter.
pub fn start_logging(cli: &Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log_level).with_context(|| {
        let level = &cli.log_level;
        format!("--log-level: found {level:?}; write error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match cli.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only a test that runs the library twice comes here with a log that is there already.
    started.or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use test_case::test_case;

    fn settings(flags: &[&str]) -> anyhow::Result<Settings> {
        let cli = Cli::try_parse_from([&["ringfence-webhook"], flags].concat())?;
        Settings::resolve(&cli)
    }

    #[test]
    fn the_defaults_make_sense() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.address.port(), 9443);
        assert_eq!(settings.tls.len(), 2);
        assert_eq!(settings.source.stale_after, Duration::from_mins(2));
    }

    #[test_case(&["--drain=5"], "write a duration"; "no unit")]
    #[test_case(&["--drain=-5s"], "write a duration"; "negative")]
    #[test_case(&["--objects=etcd"], "folder:PATH"; "unknown source")]
    #[test_case(&["--port=9440"], "the same"; "one port for two")]
    #[test_case(&["--objects=folder:/x", "--kubeconfig=/y"], "exclude each other"; "two sources")]
    fn refused(flags: &[&str], said: &str) {
        let error = format!("{:#}", settings(flags).unwrap_err());
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        for argument in Cli::command().get_arguments() {
            let long = argument
                .get_long()
                .filter(|l| !["help", "version"].contains(l));
            let Some(long) = long else { continue };
            let expected = format!("RINGFENCE_{}", long.to_uppercase().replace('-', "_"));
            let found = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(found, Some(expected.as_str()), "--{long}");
        }
    }
}
