//! The table of docs/proof.md: every mutation, and what caught it.

use super::mutate::Catch;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- mutations: written by `ringfence-e2e self-test --write-docs` -->\n";
const END: &str = "<!-- end of mutations -->";

/// Writes the table into `file`, between the marks that it has for it.
pub fn write(catches: &[Catch], file: &Path) -> Result<()> {
    let read = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let (before, after) = around(&read)
        .with_context(|| format!("{} has no place for the table: {BEGIN}", file.display()))?;
    let text = format!("{before}{BEGIN}{}{END}{after}", table(catches));
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn around(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    Some((before, rest.split_once(END)?.1))
}

fn table(catches: &[Catch]) -> String {
    let mut text = "| Mutation | What is wrong then | Caught by | What it saw first |\n\
                    |---|---|---|---|\n"
        .to_owned();
    for catch in catches {
        let by = catch.by.as_deref().unwrap_or("**nothing**");
        let saw = catch.saw.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}` | {} | `{by}` | {saw} |",
            catch.mutation, catch.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::mutations::ALL;
    use super::*;

    #[test]
    fn the_table_has_every_mutation_as_it_is() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proof.md");
        let text = fs::read_to_string(file).unwrap();
        let (_, rest) = text.split_once(BEGIN).unwrap();
        let rows: Vec<&str> = rest.split_once(END).unwrap().0.lines().skip(2).collect();
        assert_eq!(
            rows.len(),
            ALL.len(),
            "run `ringfence-e2e self-test --write-docs`"
        );
        for (row, mutation) in rows.iter().zip(ALL) {
            let start = format!("| `{}` | {} | `", mutation.name, mutation.what);
            assert!(row.starts_with(&start), "{row} is not {start}...");
            let by = row[start.len()..].split('`').next().unwrap();
            assert!(mutation.asks.contains(&by), "{by} was not asked");
        }
    }

    #[test]
    fn what_stands_around_the_table_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proof.md");
        fs::write(&file, format!("# Proof\n{BEGIN}old\n{END}\nMore.\n")).unwrap();
        let catch = Catch {
            mutation: "x",
            what: "y",
            by: Some("case/same-bridge".into()),
            saw: "a | b".into(),
        };
        write(&[catch], &file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# Proof\n") && text.ends_with("\nMore.\n"));
        assert!(
            text.contains("| `x` | y | `case/same-bridge` | a \\| b |\n"),
            "{text}"
        );
        assert!(!text.contains("old"));
        fs::write(&file, "nothing").unwrap();
        assert!(write(&[], &file).is_err());
    }
}
