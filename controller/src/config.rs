//! The command line, and what it means.

use crate::lease::{Candidate, Timing as LeaseTiming};
use crate::rotation::Timing;
use crate::scan;
use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use ringfence_certs::Names;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Keeps the admission webhook callable: certificates, caBundle and failure policy.
///
/// Several replicas may run; one of them leads, by a Lease. It keeps a CA and a
/// certificate in a Secret, renews them without a refused call, writes the CA into both
/// webhook configurations and puts it back when something removes it, and sets marked
/// entries to Fail once the API server has been seen to call the webhook.
///
/// Every flag can also be given as an environment variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringfence-controller", version, max_term_width = 100)]
pub struct Cli {
    /// The kubeconfig file to reach the API server with; without it the pod's service
    /// account is used.
    #[arg(long, env = "RINGFENCE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The address that the port below listens on.
    #[arg(long, env = "RINGFENCE_BIND_ADDRESS", value_name = "ADDRESS")]
    #[arg(default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port of /livez, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "RINGFENCE_HEALTH_PORT", value_name = "PORT")]
    #[arg(default_value_t = 9441)]
    pub health_port: u16,
    /// The namespace of the Secret, the Lease and the webhook's Service.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    #[arg(default_value = "ringfence-system")]
    pub namespace: String,
    /// This replica's name, as the Lease shows it. Unique among replicas.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,
    /// The Lease by which one replica leads.
    #[arg(long, env = "RINGFENCE_LEASE", value_name = "NAME")]
    #[arg(default_value = "ringfence-controller")]
    pub lease: String,
    /// Who makes certificates and writes caBundle: `managed` (this program) or `external`
    /// (cert-manager, or you).
    #[arg(long, env = "RINGFENCE_CERTS", value_name = "MODE", value_enum)]
    #[arg(default_value_t = Certs::Managed)]
    pub certs: Certs,
    /// The Secret for the CA and the certificate, which the webhook mounts.
    #[arg(long, env = "RINGFENCE_SECRET", value_name = "NAME")]
    #[arg(default_value = "ringfence-webhook-tls")]
    pub secret: String,
    /// The webhook's Service.
    #[arg(long, env = "RINGFENCE_SERVICE", value_name = "NAME")]
    #[arg(default_value = "ringfence-webhook")]
    pub service: String,
    /// The domain of the cluster's Services.
    #[arg(long, env = "RINGFENCE_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    #[arg(default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The name of both webhook configurations.
    #[arg(long, env = "RINGFENCE_CONFIGURATION", value_name = "NAME")]
    #[arg(default_value = "ringfence")]
    pub configuration: String,
    /// How long a CA and its certificate are valid; they are renewed after two thirds.
    #[arg(long, env = "RINGFENCE_CERTIFICATE_LIFETIME", value_name = "DURATION")]
    #[arg(default_value = "2160h", value_parser = duration)]
    pub certificate_lifetime: Duration,
    /// How long both CAs stand in every caBundle before the new certificate is served.
    #[arg(long, env = "RINGFENCE_CA_OVERLAP", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = duration)]
    pub ca_overlap: Duration,
    /// How long the old CA stays after that: every webhook must have loaded the new
    /// certificate, and a kubelet takes up to two minutes to bring it.
    #[arg(long, env = "RINGFENCE_CA_SETTLE", value_name = "DURATION")]
    #[arg(default_value = "5m", value_parser = duration)]
    pub ca_settle: Duration,
    /// The namespace of the dry-run NetworkPolicies that prove that the webhook is called.
    #[arg(long, env = "RINGFENCE_PROBE_NAMESPACE", value_name = "NAME")]
    #[arg(default_value = "ringfence-probe")]
    pub probe_namespace: String,
    /// How often that is proved again, for the metrics.
    #[arg(long, env = "RINGFENCE_PROBE_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = "60s", value_parser = duration)]
    pub probe_interval: Duration,
    /// Where the background scan says what it finds: in `openreports` (`Report` objects of
    /// openreports.io/v1alpha1), in `wgpolicyk8s` (`PolicyReport` of their predecessor), or in
    /// `metrics` only; `off`: no scan.
    #[arg(long, env = "RINGFENCE_REPORTS", value_name = "KIND", value_enum)]
    #[arg(default_value_t = Reports::Openreports)]
    pub reports: Reports,
    /// The checks' configuration for the scan: the file that the webhook has, too.
    #[arg(long, env = "RINGFENCE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines are written.
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    #[arg(default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace; also per module.
    #[arg(
        long,
        env = "RINGFENCE_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
}

/// `--certs`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Certs {
    /// This program issues, renews and writes caBundle.
    Managed,
    /// Somebody else does all of it.
    External,
}

/// `--reports`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reports {
    /// `openreports.io/v1alpha1 Report`
    Openreports,
    /// `wgpolicyk8s.io/v1alpha2 PolicyReport`
    Wgpolicyk8s,
    /// No objects.
    Metrics,
    /// No scan.
    Off,
}

/// `--log-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the leader does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificates, when they are ours.
    pub certificates: Option<Certificates>,
    /// The namespace of the Secret.
    pub namespace: String,
    /// The name of both configurations.
    pub configuration: String,
    /// Where probes are created, dry.
    pub probe_namespace: String,
    /// Between two probes when all is well.
    pub probe_interval: Duration,
}

/// How certificates are kept.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The Secret's name.
    pub secret: String,
    /// What the certificate must cover.
    pub names: Names,
    /// Lives and waits.
    pub timing: Timing,
}

impl Cli {
    /// What the flags mean.
    ///
    /// # Errors
    /// Names that DNS does not allow, or waits that do not fit into the life.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let names = Names::service(&self.service, &self.namespace, &self.cluster_domain)?;
        let timing = Timing {
            lifetime: self.certificate_lifetime,
            overlap: self.ca_overlap,
            settle: self.ca_settle,
        };
        // Backdating alone makes anything shorter due as soon as it is issued.
        ensure!(
            timing.lifetime >= Duration::from_hours(24),
            "--certificate-lifetime: found {:?}; at least 24h",
            timing.lifetime
        );
        ensure!(
            timing.overlap + timing.settle < timing.lifetime / 6,
            "--ca-overlap and --ca-settle: found {:?} and {:?}; together less than a sixth of \
             --certificate-lifetime, or a rotation does not end before the certificate does",
            timing.overlap,
            timing.settle
        );
        let certificates = Certificates {
            secret: self.secret.clone(),
            names,
            timing,
        };
        Ok(Settings {
            certificates: Some(certificates).filter(|_| self.certs == Certs::Managed),
            namespace: self.namespace.clone(),
            configuration: self.configuration.clone(),
            probe_namespace: self.probe_namespace.clone(),
            probe_interval: self.probe_interval,
        })
    }

    /// How the cluster is scanned; `None`: it is not.
    pub fn scan(&self) -> Option<scan::Settings> {
        let reports = match self.reports {
            Reports::Openreports => Some(scan::Api::OpenReports),
            Reports::Wgpolicyk8s => Some(scan::Api::PolicyReports),
            Reports::Metrics => None,
            Reports::Off => return None,
        };
        Some(scan::Settings {
            config: self.config.clone(),
            reports,
        })
    }

    /// Where health is.
    pub fn health(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.health_port)
    }

    /// This replica in the election.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            namespace: self.namespace.clone(),
            lease: self.lease.clone(),
            identity: self.identity.clone(),
            timing: LeaseTiming::default(),
        }
    }

    /// Starts logging to standard error. Once a process.
    ///
    /// # Errors
    /// `--log-level` makes no sense, or logging has been started before.
    pub fn start_logging(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::builder()
            .parse(&self.log_level)
            .with_context(|| {
                format!(
                    "--log-level: found {:?}; write error, warn, info, debug or trace",
                    self.log_level
                )
            })?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false);
        match self.log_format {
            LogFormat::Text => lines.try_init(),
            LogFormat::Json => lines.json().flatten_event(true).try_init(),
        }
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
    }
}

/// The checks' configuration in a file.
///
/// # Errors
/// It cannot be read, or says something that is not understood.
pub fn read_checks(path: &Path) -> anyhow::Result<ringfence_checks::Config> {
    let about = || format!("--config {}", path.display());
    let text = fs::read_to_string(path).with_context(about)?;
    let value = if text.trim().is_empty() {
        serde_json::Value::Null
    } else {
        serde_saphyr::from_str(&text).with_context(about)?
    };
    ringfence_checks::Config::from_value(&value).with_context(about)
}

/// Durations as Go writes them.
fn duration(text: &str) -> Result<Duration, String> {
    let advice =
        || format!("found {text:?}; write a duration such as 60s, 5m or 2160h, at least 1s");
    let duration: SignedDuration = text.parse().map_err(|_| advice())?;
    let duration = Duration::try_from(duration).map_err(|_| advice())?;
    if duration < Duration::from_secs(1) {
        return Err(advice());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let all = ["ringfence-controller", "--identity=a"].iter().chain(flags);
        let cli = Cli::try_parse_from(all).map_err(|e| e.to_string())?;
        cli.settings().map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_right() {
        let settings = settings(&[]).unwrap();
        let certificates = settings.certificates.unwrap();
        assert_eq!(certificates.timing.lifetime, Duration::from_hours(2160));
        assert_eq!(certificates.timing.overlap, Duration::from_mins(1));
        assert_eq!(
            certificates.names.host(),
            "ringfence-webhook.ringfence-system.svc"
        );
    }

    #[test]
    fn external_certificates_are_left_alone() {
        assert!(
            settings(&["--certs=external"])
                .unwrap()
                .certificates
                .is_none()
        );
    }

    #[test_case("--certificate-lifetime=1h", "at least 24h"; "too short a life")]
    #[test_case("--ca-settle=720h", "less than a sixth"; "too long a wait")]
    #[test_case("--ca-overlap=60", "such as 60s"; "no unit")]
    #[test_case("--ca-overlap=0s", "at least 1s"; "no wait")]
    #[test_case("--service=Hook", "service: found \"Hook\""; "no name")]
    #[test_case("--certs=mine", "--certs"; "no mode")]
    fn refuses(flag: &str, said: &str) {
        let error = settings(&[flag]).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
