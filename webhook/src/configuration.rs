//! The configuration of checks: from a YAML file to [`Config`].

use anyhow::Context;
use ringfence_checks::Config;
use serde_json::Value;

/// Reads the file's content.
///
/// # Errors
/// No YAML, or the first thing in it that is not understood, with a suggestion.
pub fn read(content: &[u8]) -> anyhow::Result<Config> {
    let text = std::str::from_utf8(content).context("the configuration is no UTF-8")?;
    let value: Value = if text.trim().is_empty() {
        Value::Null
    } else {
        serde_saphyr::from_str(text).context("the configuration is no YAML")?
    };
    Config::from_value(&value).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("" => Ok(()); "empty")]
    #[test_case("# nothing\n" => Ok(()); "a comment")]
    #[test_case("profile: strict\n" => Ok(()); "a profile")]
    #[test_case("profle: strict\n" => Err("did you mean profile?".to_owned()); "a misspelt key")]
    #[test_case("a: [\n" => Err("the configuration is no YAML".to_owned()); "no yaml")]
    fn reads(text: &str) -> Result<(), String> {
        let known = ["did you mean profile?", "the configuration is no YAML"];
        read(text.as_bytes()).map(drop).map_err(|error| {
            let text = format!("{error:#}");
            let part = known.into_iter().find(|known| text.contains(known));
            part.map_or(text.clone(), ToOwned::to_owned)
        })
    }
}
