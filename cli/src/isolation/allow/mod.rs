//! `ringfence allow`: a hole in the fence, for a friend and for a while.

mod name;
mod peer;
mod ports;

use super::isolate::check_namespace;
use super::write::{Made, WriteArgs};
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use peer::Whom;
use ringfence_api::{Direction, IsolationRule, IsolationRuleSpec, RulePort};
use std::process::ExitCode;

/// `ringfence allow`
#[derive(Debug, clap::Args)]
pub struct AllowArgs {
    /// Who connects: a namespace, service/NAMESPACE/NAME (its pods), an address or a CIDR.
    #[arg(long)]
    from: String,
    /// To whom: a namespace, service/NAMESPACE/NAME, an address or a CIDR.
    #[arg(long)]
    to: String,
    /// Whose rule it is where both ends are namespaces: `ingress` stands in the namespace of
    /// --to, `egress` in that of --from. Where both are isolated, both are needed.
    #[arg(long, value_enum)]
    direction: Option<DirectionWord>,
    /// Ports: 80, 80/TCP, 8000-8100/UDP, a name (http/TCP), or a port of a Service in the
    /// namespace that is connected to (web/80), which follows the Service's targetPort.
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = ports::parse)]
    ports: Vec<RulePort>,
    /// Ranges inside of a CIDR that are not meant.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    except: Vec<String>,
    /// For how long: 24h, 90m, 2 weeks.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
    duration: Option<Span>,
    /// Until when: 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Why, for whoever finds the rule later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The rule's name; without it one is made of the peer and the ports, so that the same
    /// question again changes the same rule.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

/// `--direction`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DirectionWord {
    /// Into the namespace of --to.
    Ingress,
    /// Out of the namespace of --from.
    Egress,
}

/// Runs the subcommand.
pub fn run(args: &AllowArgs) -> Result<ExitCode> {
    let rule = args.rule(Timestamp::now())?;
    args.write.write(&[Made::new(&rule, "isolationrules")?])?;
    Ok(ExitCode::SUCCESS)
}

impl AllowArgs {
    fn rule(&self, now: Timestamp) -> Result<IsolationRule> {
        let from = Whom::parse(&self.from).context("--from")?;
        let to = Whom::parse(&self.to).context("--to")?;
        let (namespace, direction, whom) = match (self.direction, from, to) {
            (None | Some(DirectionWord::Ingress), from, Whom::Namespace(own)) => {
                (own, Direction::Ingress, from)
            }
            (None | Some(DirectionWord::Egress), Whom::Namespace(own), to) => {
                (own, Direction::Egress, to)
            }
            _ => bail!(
                "--from {}, --to {}: a rule stands in a namespace; write the namespace for --to \
                 (who comes in) or for --from (where its pods may go)",
                self.from,
                self.to
            ),
        };
        if direction == Direction::Egress {
            self.no_service_ports_of(&whom)?;
        }
        let spec = IsolationRuleSpec {
            direction,
            peer: whom.peer(&self.except)?,
            ports: self.ports.clone(),
            expires_at: self.end(now)?.map(Time),
            reason: self.reason.clone(),
        };
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name::of(&spec)?,
        };
        check_namespace(
            if direction == Direction::Ingress {
                "--to"
            } else {
                "--from"
            },
            &namespace,
        )?;
        let mut rule = IsolationRule::new(&name, spec);
        rule.metadata.namespace = Some(namespace);
        Ok(rule)
    }

    /// An address has no Services.
    fn no_service_ports_of(&self, whom: &Whom) -> Result<()> {
        let named = self.ports.iter().find_map(|p| p.service_port.as_ref());
        match (named, whom) {
            (Some(port), Whom::Addresses(range)) => bail!(
                "--ports {port}: {range} has no Services; write the port's number and protocol, \
                 such as 80/TCP"
            ),
            _ => Ok(()),
        }
    }

    fn end(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let end = match (self.duration, self.until) {
            (None, until) => until,
            // Days and weeks as a calendar has them.
            (Some(span), _) => {
                let end = now.to_zoned(TimeZone::UTC).checked_add(span);
                Some(end.map_err(|error| anyhow!("--for: {error}"))?.timestamp())
            }
        };
        let Some(end) = end else { return Ok(None) };
        if end <= now {
            bail!(
                "the rule would end at {end}, and it is {now}: write a time that is still to come"
            );
        }
        // Kubernetes keeps whole seconds.
        Ok(Some(end.round(Unit::Second)?))
    }
}

#[cfg(test)]
mod tests;
