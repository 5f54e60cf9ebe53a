//! Documents that hold a program's flags as `--help` prints them, and a test that keeps them
//! so.

use anyhow::{Context, Result, ensure};
use clap::{Arg, Command};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

const END: &str = "<!-- end of flags -->\n";

/// Compares the flags in `docs/NAME.md` with those of `command`, or writes them there with
/// `RINGFENCE_WRITE_DOCS=1`. They stand between two comments, of which the first names the
/// test of `package` that does this: `NAME/tests/reference.rs`.
///
/// # Errors
/// They differ.
pub fn flags(name: &str, command: &Command) -> Result<()> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{name}.md"));
    let text = fs::read_to_string(&document).with_context(|| document.display().to_string())?;
    let begin = format!("<!-- flags: generated, see {name}/tests/reference.rs -->\n");
    let (before, rest) = text
        .split_once(&begin)
        .context("no mark before the flags")?;
    let (found, after) = rest.split_once(END).context("no mark after the flags")?;
    let wanted = tables(command)?;
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        let text = [before, &begin, &wanted, END, after].concat();
        return fs::write(&document, text).with_context(|| document.display().to_string());
    }
    ensure!(
        found == wanted,
        "{} is not up to date: RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-{name} --test reference",
        document.display()
    );
    Ok(())
}

/// One table for every section of `--help`.
fn tables(command: &Command) -> Result<String> {
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in command.get_arguments() {
        let heading = argument.get_help_heading();
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut text = String::new();
    for heading in headings {
        if let Some(heading) = heading {
            writeln!(text, "\n**{heading}**")?;
        }
        text += "\n| Flag | Environment | Default | |\n|---|---|---|---|\n";
        let arguments = command.get_arguments();
        for argument in arguments.filter(|a| a.get_help_heading() == heading) {
            if let Some(long) = argument.get_long() {
                text += &row(argument, long)?;
            }
        }
    }
    Ok(text)
}

fn row(argument: &Arg, long: &str) -> Result<String> {
    let aliases = argument.get_visible_aliases().unwrap_or_default();
    let names = [long].into_iter().chain(aliases);
    let names: Vec<String> = names.map(|name| format!("`--{name}`")).collect();
    let code = |text: String| {
        if text.is_empty() {
            text
        } else {
            format!("`{text}`")
        }
    };
    let variable = argument.get_env().map(|v| v.to_string_lossy().into_owned());
    // A switch is off by default; that needs no word.
    let takes_value = argument.get_action().takes_values();
    let defaults = argument.get_default_values().iter().filter(|_| takes_value);
    let default: Vec<_> = defaults.map(|v| v.to_string_lossy()).collect();
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.with_context(|| format!("--{long} has no help"))?;
    Ok(format!(
        "| {} | {} | {} | {} |\n",
        names.join(", "),
        code(variable.unwrap_or_default()),
        code(default.join(",")),
        help.to_string().replace('\n', " ").replace('|', "\\|")
    ))
}
