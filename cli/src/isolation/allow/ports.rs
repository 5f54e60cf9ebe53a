//! `--ports`

use ringfence_api::{PortNumber, RulePort};

const FORMS: &str = "80, 80/TCP, 8000-8100/UDP, http/TCP, or SERVICE/PORT";

/// Reads one port, or one range.
///
/// # Errors
/// What was found and which forms there are.
pub fn parse(text: &str) -> Result<RulePort, String> {
    let (port, rest) = match text.split_once('/') {
        None => (text, None),
        Some((port, rest)) => (port, Some(rest)),
    };
    let protocol = match rest.map(str::to_ascii_uppercase).as_deref() {
        None => None,
        Some(word @ ("TCP" | "UDP" | "SCTP")) => Some(word.to_owned()),
        Some(_) if is_name(port) && rest.is_some_and(|r| number(r).is_some() || is_name(r)) => {
            return Ok(RulePort {
                service_port: Some(text.to_owned()),
                ..RulePort::default()
            });
        }
        Some(_) => return Err(format!("found {text:?}; write {FORMS}")),
    };
    let port = match port.split_once('-') {
        Some((first, last)) if number(first).is_some() => {
            let range = number(first).zip(number(last)).filter(|(a, b)| a <= b);
            let (first, last) = range.ok_or_else(|| {
                format!("found {text:?}; a range goes from a smaller port to a larger one")
            })?;
            return Ok(RulePort {
                protocol,
                port: Some(PortNumber::Number(first)),
                end_port: Some(last),
                ..RulePort::default()
            });
        }
        _ => match number(port) {
            Some(number) => PortNumber::Number(number),
            None if is_name(port) => PortNumber::Name(port.to_owned()),
            None => return Err(format!("found {text:?}; write {FORMS}")),
        },
    };
    Ok(RulePort {
        protocol,
        port: Some(port),
        ..RulePort::default()
    })
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|n| *n > 0)
}

/// A name of a container port or a Service: not only digits.
fn is_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63
        && text.chars().all(letters)
        && text.contains(|c: char| c.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
}
